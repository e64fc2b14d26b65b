// `ernie-image diff` on the embedded model.
#include <gtest/gtest.h>

#include <algorithm>

#include "program.h"
#include "support/golden.h"

namespace ernie_image::cli_test {
namespace {

Outcome diff(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"diff", "--num-steps", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

bool has_stage(const nlohmann::json& report, const std::string& name) {
  return std::ranges::any_of(report["stages"],
                             [&](const auto& stage) { return stage["name"] == name; });
}

TEST(Diff, EqualRunsAreEqualInEveryStage) {
  const Outcome outcome = diff({"--a", "fp32", "--b", "fp32", "--tolerance", "0", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = outcome.json();
  EXPECT_GT(report["stages"].size(), 20u);
  for (const auto& stage : report["stages"]) EXPECT_EQ(stage["max_absolute"], 0) << stage;
  EXPECT_TRUE(report["first_past_tolerance"].is_null());
  EXPECT_TRUE(has_stage(report, "dit.block4.output"));
  EXPECT_TRUE(has_stage(report, "text.layer0.layer_output"));
  EXPECT_FALSE(has_stage(report, "dit.block4.attn_out"));
}

TEST(Diff, NamesTheFirstStagePastTheTolerance) {
  // The first thing that bf16 rounds is the output of the text encoder's first layer.
  const Outcome outcome = diff({"--a", "bf16", "--b", "fp32", "--tolerance", "1e-4", "-q"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.out.find("First past the tolerance of 0.0001: text.layer0.layer_output"),
            std::string::npos)
      << outcome.out;
  EXPECT_EQ(diff({"--a", "bf16", "--b", "fp32", "-q"}).exit_code, 0);
}

TEST(Diff, LooksInsideTheBlocksWhenAsked) {
  const Outcome outcome = diff({"--a", "bf16", "--b", "fp32", "--inside-blocks", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* name :
       {"dit.block0.to_q", "dit.block0.norm_k", "dit.block3.mlp_out", "text.layer1.attn_context"}) {
    EXPECT_TRUE(has_stage(outcome.json(), name)) << name;
  }
}

TEST(Diff, OtherModelsShowOtherShapes) {
  const Outcome outcome = diff({"--a", "model=" + golden::data_path("reference/models/tiny_a"),
                                "--b", "fp32", "-H", "64", "-W", "64", "-q"});
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_NE((outcome.out + outcome.err).find("shapes differ"), std::string::npos)
      << outcome.out << outcome.err;
}

TEST(Diff, RefusesASpecificationItCannotRead) {
  EXPECT_EQ(diff({"--a", "fp32", "--b", "fp99"}).exit_code, 2);
  EXPECT_EQ(diff({"--a", "fp32"}).exit_code, 2);
}

}  // namespace
}  // namespace ernie_image::cli_test
