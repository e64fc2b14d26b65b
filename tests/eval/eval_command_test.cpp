// `ernie-image eval` from command line to report.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>

#include "program.h"
#include "support/golden.h"

namespace ernie_image::cli_test {
namespace {

using Names = std::vector<std::string>;

/// Two runs of two steps, unless `more` says otherwise.
Outcome evaluate(const std::string& output_dir, const Names& more = {}) {
  Names arguments = {"eval", "--output-dir", output_dir};
  for (const char* flag : {"--num-steps", "--runs"}) {
    if (std::ranges::find(more, flag) == more.end()) arguments.insert(arguments.end(), {flag, "2"});
  }
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

/// Exit status and output of a Python script of this folder.
std::pair<int, std::string> run_script(const std::string& arguments) {
  const std::string command =
      std::string(ERNIE_IMAGE_PYTHON) + " " + ERNIE_IMAGE_EVAL_TESTS + "/" + arguments + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  char buffer[512];
  while (std::fgets(buffer, sizeof(buffer), pipe) != nullptr) output += buffer;
  return {WEXITSTATUS(pclose(pipe)), output};
}

void expect_report_right(const std::string& folder) {
  const auto [status, output] = run_script("check_report.py '" + folder + "' " + ERNIE_IMAGE_DOCS +
                                           "/eval_report.schema.json");
  EXPECT_EQ(status, 0) << output;
}

TEST(Eval, ReportsFiguresThatThePicturesBear) {
  const TemporaryFolder folder;
  const Outcome outcome =
      evaluate(folder / "new/report",
               {"-p", "a fox on a green background", "-p", "</script>黑色 \"quoted\"",
                "--candidate", "bf16", "--candidate", "quant=int8,kernels=portable,threshold=0.5"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("bf16: PASSED, nMSE %"), std::string::npos) << outcome.err;
  expect_report_right(folder / "new/report");
  const std::string log = read_bytes(folder / "new/report/log.txt");
  EXPECT_NE(log.find("baseline fp32: run 2"), std::string::npos) << log;
  EXPECT_NE(log.find("candidate2 quant=int8,kernels=portable,threshold=0.5: PASSED"),
            std::string::npos)
      << log;
}

TEST(Eval, FailsACandidatePastItsThreshold) {
  const TemporaryFolder folder;
  const Outcome outcome =
      evaluate(folder.path(), {"--candidate", "dtype=bf16,threshold=0.000001", "--json"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  const auto report = outcome.json();
  EXPECT_EQ(report["status"], "FAILED");
  EXPECT_EQ(report["candidates"][0]["status"], "FAILED");
  EXPECT_GT(report["candidates"][0]["accuracy"]["mean"]["nmse_percent"], 0.000001);
  expect_report_right(folder.path());
}

TEST(Eval, TheLatentErrorFollowsTheSteps) {
  const TemporaryFolder folder;
  const auto report = evaluate(folder.path(), {"--num-steps", "5", "--json"}).json();
  const auto& accuracy = report["candidates"][0]["accuracy"]["prompts"][0];
  EXPECT_EQ(accuracy["latent_nmse_percent"].size(), 5u);
  EXPECT_GT(accuracy["latent_nmse_percent"][0], 0);
  EXPECT_GT(accuracy["prompt_embedding_cosine"], 0.999);
  EXPECT_EQ(report["baseline"]["performance"]["runs"].size(), 2u);
  EXPECT_EQ(report["baseline"]["performance"]["repeatable"], true);
}

TEST(Eval, ComparesTwoModels) {
  const TemporaryFolder folder;
  const Outcome outcome =
      evaluate(folder.path(),
               {"-m", golden::data_path("reference/models/tiny_b"), "-H", "64", "-W", "64",
                "--candidate", "model=" + golden::data_path("reference/models/tiny_a"), "--json"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;  // two random models draw different pictures
  EXPECT_EQ(outcome.json()["candidates"][0]["model"]["name"], "tiny_a");
  expect_report_right(folder.path());
}

TEST(Eval, EnhancesOnceForAllAndOnlyWhenAsked) {
  const TemporaryFolder folder;
  const Names prompt = {"-p",    "king of the jungle", "--pe-cache", "off", "--pe-temperature", "0",
                        "--json"};
  EXPECT_TRUE(evaluate(folder.path(), prompt).json()["prompts"][0]["enhanced"].is_null());
  Names enhanced = prompt;
  enhanced.emplace_back("--enhance");
  const auto report = evaluate(folder.path(), enhanced).json();
  EXPECT_NE(report["prompts"][0]["enhanced"]["text"].get<std::string>().find("lion"),
            std::string::npos);
  EXPECT_GT(report["enhancer_tokens_per_second"], 0);
  expect_report_right(folder.path());
}

TEST(Eval, RunsThePromptSuite) {
  const TemporaryFolder folder;
  const Outcome outcome = evaluate(
      folder.path(), {"--prompt-file", std::string(ERNIE_IMAGE_DOCS) + "/prompts/suite.txt",
                      "--runs", "1", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto report = outcome.json();
  ASSERT_EQ(report["prompts"].size(), 20u);
  const auto& accuracy = report["candidates"][0]["accuracy"];
  double worst = 0, sum = 0;
  for (const auto& prompt : accuracy["prompts"]) {
    worst = std::max(worst, prompt["nmse_percent"].get<double>());
    sum += prompt["nmse_percent"].get<double>();
  }
  EXPECT_EQ(accuracy["worst"]["nmse_percent"]["value"].get<double>(), worst);
  EXPECT_NEAR(accuracy["mean"]["nmse_percent"].get<double>(), sum / 20, 1e-12);
}

TEST(Eval, ThePageShowsItsPicturesInABrowser) {
  const TemporaryFolder folder;
  ASSERT_EQ(evaluate(folder.path(), {"-p", "<b>a fox</b> & \"more\" 狐狸", "-p", "a panda", "-q"})
                .exit_code,
            0);
  const auto [status, output] = run_script("check_page.py '" + folder / "report.html" + "'");
  if (status == 77) GTEST_SKIP() << output;
  EXPECT_EQ(status, 0) << output;
}

/// Makes every file end at `bytes`, as a full disk would, for programs started meanwhile.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_ = {};
  sighandler_t handler_;
};

TEST(Eval, AFullDiskLeavesNoHalfReport) {
  const TemporaryFolder folder;
  Outcome outcome;
  {
    const FullDisk full(8 << 10);  // room for the pictures and the log, not for the report
    outcome = evaluate(folder.path(), {"-q"});
  }
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("eval_report.json"), std::string::npos) << outcome.err;
  for (const std::string& name : folder.names()) {
    EXPECT_TRUE(name.ends_with(".png") || name == "log.txt") << name;
  }
}

TEST(Eval, AnUnusableCandidateIsFoundBeforeTheWork) {
  const TemporaryFolder folder;
  const Outcome outcome = evaluate(folder.path(), {"--candidate", "kernels=abacus"});
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_NE(outcome.err.find("abacus"), std::string::npos);
  EXPECT_EQ(folder.names(), Names{"log.txt"});
}

TEST(Eval, WrongUsageSaysSo) {
  const TemporaryFolder folder;
  EXPECT_EQ(evaluate(folder.path(), {"--runs", "0"}).exit_code, 2);
  EXPECT_EQ(evaluate(folder.path(), {"--candidate", "fp17"}).exit_code, 2);
  write_bytes(folder / "file", "x");
  EXPECT_EQ(evaluate(folder / "file/report").exit_code, 1);
  write_bytes(folder / "empty.txt", "# nothing\n\n");
  EXPECT_EQ(evaluate(folder.path(), {"--prompt-file", folder / "empty.txt"}).exit_code, 2);
  EXPECT_EQ(run_program({"eval", "--compare", "one.json"}).exit_code, 2);
}

TEST(EvalCompare, TellsBetterFromWorse) {
  const TemporaryFolder folder;
  ASSERT_EQ(evaluate(folder / "a", {"-q"}).exit_code, 0);
  const std::string old_path = folder / "a/eval_report.json";
  auto report = nlohmann::json::parse(read_bytes(old_path));
  report["candidates"][0]["accuracy"]["mean"]["nmse_percent"] = 0.9;
  write_bytes(folder / "worse.json", report.dump());
  EXPECT_EQ(run_program({"eval", "--compare", old_path, old_path}).exit_code, 0);
  const Outcome worse = run_program({"eval", "--compare", old_path, folder / "worse.json"});
  EXPECT_EQ(worse.exit_code, 1);
  EXPECT_NE(worse.out.find("WORSE"), std::string::npos) << worse.out;
  const Outcome better =
      run_program({"eval", "--compare", folder / "worse.json", old_path, "--json"});
  EXPECT_EQ(better.exit_code, 0);
  EXPECT_EQ(better.json()["status"], "OK");
}

}  // namespace
}  // namespace ernie_image::cli_test
