// Ctrl-C in the middle of a long run.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "program.h"

namespace ernie_image::cli_test {
namespace {

using Clock = std::chrono::steady_clock;

#ifdef __SANITIZE_ADDRESS__
constexpr double kMaxSeconds = 5;  // instrumented kernels are many times slower
#else
constexpr double kMaxSeconds = 1;
#endif

/// Signals a run of 1000 steps at 512x512 once it is well into them; returns the seconds it then
/// took to end.
double stop_long_run(const TemporaryFolder& folder, const std::vector<int>& signals,
                     Outcome& outcome) {
  RunningProgram program({"generate", "-p", "a dog", "-W", "512", "-H", "512", "--steps", "1000",
                          "--save-tensors", folder / "t.safetensors", "--json", "-o",
                          folder / "a.png"});
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  const auto start = Clock::now();
  for (const int number : signals) kill(program.pid(), number);
  outcome = program.wait();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

TEST(Interrupt, StopsWithinASecondAndLeavesNoFile) {
  for (const int number : {SIGINT, SIGTERM}) {
    const TemporaryFolder folder;
    Outcome outcome;
    EXPECT_LT(stop_long_run(folder, {number}, outcome), kMaxSeconds);
    EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
    EXPECT_NE(outcome.err.find("cancelled"), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(folder.names().empty());
  }
}

TEST(Interrupt, ASecondOneEndsAtOnce) {
  const TemporaryFolder folder;
  Outcome outcome;
  EXPECT_LT(stop_long_run(folder, {SIGINT, SIGTERM}, outcome), kMaxSeconds);
  EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
  EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace ernie_image::cli_test
