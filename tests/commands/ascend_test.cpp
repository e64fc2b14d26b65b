// `--device ascend` from the command line, on the stand-in for CANN and without any.
#include <gtest/gtest.h>

#include <algorithm>

#include "program.h"

namespace ernie_image::cli_test {
namespace {

using Names = std::vector<std::string>;
using nlohmann::json;

/// Found through the toolkit's folder alone, by the program's second way.
Outcome on_standin(const Names& arguments, Names environment = {}) {
  environment.push_back(std::string("ASCEND_HOME_PATH=") + ERNIE_IMAGE_ASCEND_STANDIN + "/whole");
  return run_program(arguments, {.environment = environment});
}

bool has_cann() { return run_program({"devices", "--json"}).json()["ascend"]["problem"] == ""; }

// ---- without CANN
// --------------------------------------------------------------------------------

TEST(WithoutCann, DevicesSaysWhatWasLookedForWhereAndWhatToDo) {
  if (has_cann()) GTEST_SKIP() << "this machine has CANN";
  const Outcome outcome = run_program({"devices"}, {.environment = {"ASCEND_HOME_PATH=/nowhere"}});
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* part :
       {"cpu: ", "ascend: none", "libascendcl.so", "LD_LIBRARY_PATH", "/nowhere", "set_env.sh"})
    EXPECT_NE(outcome.out.find(part), std::string::npos) << part << " in " << outcome.out;
}

TEST(WithoutCann, TheDeviceIsAnErrorThatSaysTheSame) {
  if (has_cann()) GTEST_SKIP() << "this machine has CANN";
  const TemporaryFolder folder;
  const Outcome outcome = run_program(quick_run(folder / "a.png", {"--device", "ascend"}));
  EXPECT_EQ(outcome.exit_code, 1);
  for (const char* part : {"libascendcl.so", "LD_LIBRARY_PATH", "ASCEND_HOME_PATH", "set_env.sh"})
    EXPECT_NE(outcome.err.find(part), std::string::npos) << part << " in " << outcome.err;
  EXPECT_TRUE(folder.names().empty());
}

// ---- on the stand-in
// -----------------------------------------------------------------------------

TEST(OnStandin, DevicesListsCardsAndOperations) {
  const Outcome outcome = on_standin({"devices"});
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* part : {"ascend:0: Ascend910B3-standin", "ascend:1: ", "aclnnMm: present"})
    EXPECT_NE(outcome.out.find(part), std::string::npos) << part << " in " << outcome.out;
}

/// A name without a digit is another chip; and what a chip lacks is not called.
TEST(OnStandin, DevicesSaysWhatTheChipAtHandDoesNotDo) {
  EXPECT_FALSE(on_standin({"devices", "--json"}).json()["ascend"].contains("notes"));
  for (const auto& [chip, words, attention, exit_code] :
       {std::tuple{"Ascend910B", "first generation", "auto", 1},
        {"Ascend950PR_9599", "before V5", "auto", 0},
        {"Ascend310P3", "nothing is known", "composed", 0}}) {
    const std::string environment = std::string("ASCEND_STANDIN_CHIP=") + chip;
    const json ascend = on_standin({"devices", "--json"}, {environment}).json()["ascend"];
    EXPECT_NE(ascend["notes"].dump().find(words), std::string::npos) << ascend["notes"];
    EXPECT_NE(on_standin({"devices"}, {environment}).out.find(words), std::string::npos);
    const TemporaryFolder folder;
    const Outcome outcome = on_standin(
        quick_run(folder / "a.png",
                  {"--device", "ascend", "--dtype", "bf16", "--ascend-attention", attention}),
        {environment});
    EXPECT_EQ(outcome.exit_code, exit_code) << chip << ": " << outcome.err;
    if (exit_code != 0) {
      EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
    }
  }
}

TEST(OnStandin, DevicesNamesTheFallbackOfWhatIsAbsent) {
  const json ascend = on_standin({"devices", "--json"}, {"ERNIE_IMAGE_ASCEND_WITHOUT="
                                                         "aclnnFlashAttentionScore"})
                          .json()["ascend"];
  EXPECT_EQ(ascend["operations"]["aclnnMm"], "present");
  EXPECT_EQ(ascend["operations"]["aclnnFlashAttentionScore"],
            "absent, fallback: attention composed of BatchMatMul and Softmax");
  EXPECT_EQ(ascend["problem"], "");
}

TEST(OnStandin, AnOperationThatNothingReplacesIsNamed) {
  const Outcome outcome = on_standin({"devices"}, {"ERNIE_IMAGE_ASCEND_WITHOUT=aclnnMm"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_NE(outcome.out.find("aclnnMm: absent, and needed"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("this CANN lacks aclnnMm"), std::string::npos) << outcome.out;
}

/// CANN from 8.5 on has its operations in several libraries.
TEST(OnStandin, OperationsAreFoundInSplitLibraries) {
  const std::string home = std::string("ASCEND_HOME_PATH=") + ERNIE_IMAGE_ASCEND_STANDIN + "/split";
  const json ascend = run_program({"devices", "--json"}, {.environment = {home}}).json()["ascend"];
  EXPECT_EQ(ascend["problem"], "");
  for (const auto& [name, state] : ascend["operations"].items())
    EXPECT_EQ(state, "present") << name;
  EXPECT_EQ(std::ranges::count(ascend["libraries"], "libopapi_math.so"), 1);
  EXPECT_EQ(std::ranges::count(ascend["libraries"], "libopapi.so"), 0);
}

/// What somebody with a card sends, and somebody without reads.
TEST(OnStandin, AReportHoldsWhatIsToBeKnownOfTheCard) {
  const TemporaryFolder folder;
  const std::string cache = folder.path() / "cache";
  std::filesystem::create_directories(cache + "/ernie-image");
  write_bytes(folder / "cache/ernie-image/ascend-attention.txt",
              "ernie-image attention timings 1\nAscend910B3\t8.1\tBF16 [1, 4128, 32, 128]\t"
              "flash=2.5\tlengths=1.5\tmask=refused\n");
  const Outcome outcome =
      on_standin({"devices", "--report", folder / "r.json", "--report-parts", "timings"},
                 {"XDG_CACHE_HOME=" + cache});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const Outcome shown = run_program({"devices", "--from-report", folder / "r.json"});
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  for (const char* part :
       {"device: ascend", "release: 8.1.standin", "Ascend910B3-standin", "aclnnMm: present",
        "libopapi.so", "chosen: lengths", "\"lengths\":1.5", "\"mask\":null"})
    EXPECT_NE(shown.out.find(part), std::string::npos) << part << " in " << shown.out;
  EXPECT_EQ(shown.out.find("evaluation"), std::string::npos);
}

/// A card that cannot be used has a report too: of why.
TEST(OnStandin, AReportHoldsTheWordsOfWhatFailed) {
  const TemporaryFolder folder;
  const Outcome outcome =
      on_standin({"devices", "--report", folder / "r.json", "--report-parts", "verify,bench"},
                 {"ASCEND_STANDIN_CHIP=Ascend910B"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const json report = json::parse(read_bytes(folder / "r.json"));
  for (const char* part : {"verify", "bench"})
    EXPECT_NE(report[part]["error"].dump().find("first generation"), std::string::npos) << part;
}

TEST(DeviceReports, WhatIsNoneIsAnError) {
  const TemporaryFolder folder;
  for (const auto& [text, words] :
       {std::pair{"[]", "is not a report"},
        {"{\"format\":1}", "is not a report"},
        {"{", "r.json"},
        {"{\"format\":\"ernie-image-device-report\",\"format_version\":2}", "version 2"},
        {"{\"format\":\"ernie-image-device-report\"}", "version null"}}) {
    write_bytes(folder / "r.json", text);
    const Outcome outcome = run_program({"devices", "--from-report", folder / "r.json"});
    EXPECT_EQ(outcome.exit_code, 1) << text;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
  }
  EXPECT_EQ(run_program({"devices", "--from-report", folder / "absent.json"}).exit_code, 1);
  EXPECT_EQ(run_program({"devices", "--report", folder / "absent/r.json"}).exit_code, 1);
  EXPECT_EQ(run_program({"devices", "--report-parts", "all"}).exit_code, 2);
}

// ---- installations and failures that people meet
// -------------------------------------------------

std::string standin_folder(const std::string& name) {
  return std::string(ERNIE_IMAGE_ASCEND_STANDIN) + "/" + name;
}

std::string problem_with(const Names& environment) {
  return run_program({"devices", "--json"}, {.environment = environment})
      .json()["ascend"]["problem"];
}

TEST(CannInstallations, AMissingDriverIsNamedAndNotTheLibraryThatNeedsIt) {
  const std::string problem = problem_with({"ASCEND_HOME_PATH=" + standin_folder("driverless")});
  for (const char* part : {"libascendcl.so was found, but: libascend_hal.so", "LD_LIBRARY_PATH"})
    EXPECT_NE(problem.find(part), std::string::npos) << part << " in " << problem;
  EXPECT_EQ(problem.find("was not found"), std::string::npos) << problem;
}

TEST(CannInstallations, TheRuntimeMayHaveItsOwnName) {
  EXPECT_EQ(problem_with({"ASCEND_HOME_PATH=" + standin_folder("runtime_only")}), "");
}

TEST(CannInstallations, SplitLibrariesAreFoundWithoutTheToolkitsVariable) {
  EXPECT_EQ(problem_with({"LD_LIBRARY_PATH=" + standin_folder("split") + "/lib64"}), "");
}

TEST(CannInstallations, VendorsOperatorsAreFoundInTheOrderOfTheirFile) {
  const TemporaryFolder opp;
  const std::filesystem::path vendor = opp.path() / "vendors" / "ours";
  std::filesystem::create_directories(vendor / "op_api" / "lib");
  std::filesystem::create_symlink(standin_folder("vendor") + "/lib64/libcust_opapi.so",
                                  vendor / "op_api" / "lib" / "libcust_opapi.so");
  const Names environment = {"ASCEND_HOME_PATH=" + standin_folder("vendor"),
                             "ASCEND_OPP_PATH=" + opp.path().string()};
  EXPECT_NE(problem_with(environment).find("this CANN lacks aclnn"), std::string::npos);
  write_bytes(opp / "vendors/config.ini", "load_priority=absent, ours\n");
  EXPECT_EQ(problem_with(environment), "");
}

struct Failure {
  const char* call;
  int code;
  const char* advice;
};

class CannFailures : public ::testing::TestWithParam<Failure> {};

/// Code, the vendor's words and what to do, from `devices` and from `generate`.
TEST_P(CannFailures, SayWhatToDo) {
  const auto& [call, code, advice] = GetParam();
  const Names environment = {
      "ASCEND_HOME_PATH=" + standin_folder("whole"),
      "ASCEND_STANDIN_FAULT=" + std::string(call) + ":" + std::to_string(code)};
  const TemporaryFolder folder;
  const Outcome outcome = run_program(quick_run(folder / "a.png", {"--device", "ascend"}),
                                      {.environment = environment});
  EXPECT_EQ(outcome.exit_code, 1);
  for (const std::string& text : {problem_with(environment), outcome.err}) {
    for (const std::string& part :
         {std::to_string(code), std::string("fault ordered by a test"), std::string(advice)})
      EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Codes, CannFailures,
    ::testing::Values(Failure{"aclInit", 507899, "driver must fit"},
                      Failure{"aclrtGetDeviceCount", 207004, "ASCEND_RT_VISIBLE_DEVICES"},
                      Failure{"aclrtGetDeviceCount", 207006, "HwHiAiUser"},
                      Failure{"aclrtSetDevice", 107001, "npu-smi info"},
                      Failure{"aclrtSetDevice", 507033, "could not be set up"}),
    [](const auto& failure) { return std::to_string(failure.param.code); });

/// Those of the work itself, which `devices` does not reach.
class CannFailuresAtWork : public ::testing::TestWithParam<Failure> {};

TEST_P(CannFailuresAtWork, SayWhatToDo) {
  const auto& [call, code, advice] = GetParam();
  const TemporaryFolder folder;
  const Outcome outcome =
      on_standin(quick_run(folder / "a.png", {"--device", "ascend"}),
                 {"ASCEND_STANDIN_FAULT=" + std::string(call) + ":" + std::to_string(code)});
  EXPECT_EQ(outcome.exit_code, 1);
  for (const std::string& part : {std::to_string(code), std::string(advice)})
    EXPECT_NE(outcome.err.find(part), std::string::npos) << part << " in " << outcome.err;
  EXPECT_TRUE(folder.names().empty());
}

INSTANTIATE_TEST_SUITE_P(
    Codes, CannFailuresAtWork,
    ::testing::Values(Failure{"aclrtMallocHost", 207001, "not enough memory"},
                      Failure{"aclrtSynchronizeStream", 507015, "--verify ascend"},
                      Failure{"aclrtSynchronizeStream", 507035, "--verify ascend"},
                      Failure{"aclrtSynchronizeStream", 507046, "did not answer"},
                      Failure{"aclnnMm", 561003, "kernels package"},
                      Failure{"aclnnMmGetWorkspaceSize", 561107, "kernels package"},
                      Failure{"aclnnMmGetWorkspaceSize", 561112, "kernels package"}),
    [](const auto& failure) { return std::to_string(failure.param.code); });

// The stand-in's plain loops take 16 s of one core for it; sanitizers make that minutes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr const char* kSide = "64";
constexpr const char* kSteps = "2";
#else
constexpr const char* kSide = "256";
constexpr const char* kSteps = "8";
#endif

/// The specification's evaluation.
TEST(OnStandin, Bf16PassesTheEvaluationAgainstFp32) {
  const TemporaryFolder folder;
  const Outcome outcome = on_standin(
      {"eval",        "--device", "ascend",      "-H",           kSide,
       "-W",          kSide,      "--num-steps", kSteps,         "--seed",
       "42",          "--runs",   "1",           "--baseline",   "fp32",
       "--candidate", "bf16",     "--json",      "--output-dir", folder.path().string()});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err << outcome.out;
  const json report = outcome.json();
  EXPECT_EQ(report["status"], "PASSED");
  EXPECT_EQ(report["candidates"][0]["device"], "ascend");
  EXPECT_LT(report["candidates"][0]["accuracy"]["mean"]["nmse_percent"], 1.0);
  EXPECT_GT(report["candidates"][0]["accuracy"]["mean"]["nmse_percent"], 0.0);
}

TEST(OnStandin, APictureKeepsItsDeviceAndIsMadeAgain) {
  const TemporaryFolder folder;
  const std::string picture = folder / "a.png";
  const Outcome made = on_standin(quick_run(
      picture, {"--device", "ascend:1", "--offload", "layers", "--ascend-attention", "mask"}));
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const std::string bytes = read_bytes(picture);
  EXPECT_NE(bytes.find("\"ascend_attention\":\"mask\""), std::string::npos);
  EXPECT_NE(bytes.find("\"offload\":\"layers\""), std::string::npos);
  const Outcome again = on_standin({"rerun", picture});
  EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
  const Outcome elsewhere = run_program({"rerun", picture, "--device", "cpu", "--quiet"});
  EXPECT_EQ(elsewhere.err, "");  // other pixels, perhaps, but no error
}

TEST(OnStandin, SeveralCardsDrawThePicturesOfOne) {
  const TemporaryFolder folder;
  for (const std::string device : {"ascend:0", "ascend:0,1"}) {
    const Outcome outcome = on_standin(
        quick_run(folder / (device + "-%d.png"), {"--device", device, "--num-images", "3"}));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  ASSERT_EQ(folder.names().size(), 6u);
  const Outcome again = on_standin({"rerun", folder / "ascend:0,1-2.png", "--device", "ascend:0"});
  EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
}

TEST(OnStandin, TheEnhancerWritesWhatTheCpuWrites) {
  const Names enhance = {"enhance", "-p", "a red apple", "--pe-temperature", "0", "--json"};
  Names on_card = enhance;
  on_card.insert(on_card.end(), {"--device", "ascend"});
  const Outcome device = on_standin(on_card);
  ASSERT_EQ(device.exit_code, 0) << device.err;
  EXPECT_EQ(device.json()["ids"], run_program(enhance).json()["ids"]);
}

TEST(OnStandin, InspectPlansTheMemoryOfTheCard) {
  const auto peak = [](const std::string& offload) {
    const Outcome outcome =
        on_standin({"inspect", "--json", "--device", "ascend", "--offload", offload});
    return outcome.json()["device_plan"]["peak_bytes"].get<double>();
  };
  EXPECT_LT(peak("layers"), peak("none"));
}

}  // namespace
}  // namespace ernie_image::cli_test
