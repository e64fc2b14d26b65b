#include "eval/report_changes.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "program.h"

namespace ernie_image {
namespace {

using nlohmann::json;

json configuration(const std::string& label, double nmse, double seconds) {
  return {{"label", label},
          {"status", "PASSED"},
          {"accuracy", {{"mean", {{"nmse_percent", nmse}, {"ssim", 1 - nmse / 10}}}}},
          {"performance",
           {{"seconds", {{"total", {{"median", seconds}}}}},
            {"memory", {{"peak_anonymous_bytes", 1e9}}}}}};
}

json report(double nmse, double seconds) {
  return {{"format", "ernie-image-eval"},
          {"format_version", 1},
          {"settings", {{"seed", 42}}},
          {"baseline", configuration("fp32", 0, 1)},
          {"candidates", json::array({configuration("bf16", nmse, seconds)})}};
}

const Change* find(const ReportChanges& changes, const std::string& label,
                   const std::string& figure) {
  for (const Change& change : changes.changes) {
    if (change.configuration == label && change.figure == figure) return &change;
  }
  return nullptr;
}

TEST(ReportChanges, WithinTheToleranceNothingChanged) {
  const ReportChanges changes = compare_reports(report(0.1, 1.0), report(0.109, 1.09), {});
  EXPECT_FALSE(changes.has_worse());
  EXPECT_TRUE(changes.differing_settings.empty());
  EXPECT_EQ(find(changes, "bf16", "s a picture")->verdict, Verdict::same);
}

TEST(ReportChanges, PastItItSaysWhatAndWhere) {
  const ReportChanges changes = compare_reports(report(0.1, 1.0), report(0.2, 0.5), {});
  EXPECT_TRUE(changes.has_worse());
  EXPECT_EQ(find(changes, "bf16", "nMSE %")->verdict, Verdict::worse);
  EXPECT_EQ(find(changes, "bf16", "SSIM")->verdict, Verdict::worse);
  EXPECT_EQ(find(changes, "bf16", "s a picture")->verdict, Verdict::better);
  EXPECT_FALSE(
      compare_reports(report(0.1, 1.0), report(0.2, 1.0), {.accuracy_percent = 150}).has_worse());
}

TEST(ReportChanges, NoiseBelowTheFloorIsNoChange) {
  EXPECT_FALSE(compare_reports(report(1e-6, 0.001), report(5e-5, 0.009), {}).has_worse());
}

TEST(ReportChanges, AFailureOrALostCandidateIsWorse) {
  json failed = report(0.1, 1.0);
  failed["candidates"][0]["status"] = "FAILED";
  EXPECT_TRUE(compare_reports(report(0.1, 1.0), failed, {}).has_worse());
  EXPECT_FALSE(compare_reports(failed, report(0.1, 1.0), {}).has_worse());
  json lost = report(0.1, 1.0);
  lost["candidates"] = json::array();
  EXPECT_TRUE(compare_reports(report(0.1, 1.0), lost, {}).has_worse());
}

TEST(ReportChanges, OtherSettingsAreNamed) {
  json other = report(0.1, 1.0);
  other["settings"]["seed"] = 7;
  const ReportChanges changes = compare_reports(report(0.1, 1.0), other, {});
  ASSERT_EQ(changes.differing_settings.size(), 1u);
  EXPECT_NE(changes.differing_settings[0].find("seed"), std::string::npos);
}

struct BadReport {
  const char* name;
  const char* content;
  const char* message;  ///< part of what must be said
};

void PrintTo(const BadReport& report, std::ostream* out) { *out << report.name; }

class ReportFile : public testing::TestWithParam<BadReport> {};

TEST_P(ReportFile, IsRefusedIfItIsNone) {
  const cli_test::TemporaryFolder folder;
  cli_test::write_bytes(folder / "bad.json", GetParam().content);
  cli_test::write_bytes(folder / "good.json", report(0.1, 1).dump());
  const auto outcome =
      cli_test::run_program({"eval", "--compare", folder / "good.json", folder / "bad.json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("bad.json"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find(GetParam().message), std::string::npos) << outcome.err;
}

INSTANTIATE_TEST_SUITE_P(
    Hostile, ReportFile,
    testing::Values(
        BadReport{"Empty", "", "empty"}, BadReport{"CutShort", "[1, 2", "JSON"},
        BadReport{"AList", "[]", "format"},
        BadReport{"AnotherFormat", R"({"format": "png"})", "format"},
        BadReport{"AnotherVersion", R"({"format": "ernie-image-eval", "format_version": 99})",
                  "99"},
        BadReport{"VersionAsText", R"({"format": "ernie-image-eval", "format_version": "1"})", "1"},
        BadReport{"NoBaseline",
                  R"({"format": "ernie-image-eval", "format_version": 1, "baseline": 3})",
                  "baseline"},
        BadReport{"NoCandidates",
                  R"({"format": "ernie-image-eval", "format_version": 1, "baseline": {},
                      "candidates": {"a": 1}})",
                  "candidates"}),
    [](const auto& test) { return test.param.name; });

TEST(ReportChanges, SurvivesAReportWhoseFieldsHaveOtherTypes) {
  const json odd = {{"format", "ernie-image-eval"},
                    {"format_version", 1},
                    {"settings", "none"},
                    {"machine", json::array({1, 2})},
                    {"baseline", {{"label", 5}, {"performance", "fast"}}},
                    {"candidates", json::array({3, nullptr, {{"label", "bf16"}, {"status", 1}}})}};
  EXPECT_NO_THROW(to_text(compare_reports(odd, report(0.1, 1), {})));
  EXPECT_NO_THROW(to_text(compare_reports(report(0.1, 1), odd, {})));
}

}  // namespace
}  // namespace ernie_image
