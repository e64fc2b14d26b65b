#include "core/log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

namespace ernie_image {
namespace {

using Messages = std::vector<std::pair<LogLevel, std::string>>;

TEST(Log, NobodyIsToldAtTheStart) {
  testing::internal::CaptureStderr();
  log_message(LogLevel::warning, "a file is damaged");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Log, TheSinkIsToldUntilAnotherOneIsSet) {
  Messages first, second;
  set_log_sink([&](LogLevel level, const std::string& text) { first.emplace_back(level, text); });
  log_message(LogLevel::warning, "one");
  set_log_sink([&](LogLevel level, const std::string& text) { second.emplace_back(level, text); });
  log_message(LogLevel::info, "two");
  set_log_sink({});
  log_message(LogLevel::error, "three");
  EXPECT_EQ(first, (Messages{{LogLevel::warning, "one"}}));
  EXPECT_EQ(second, (Messages{{LogLevel::info, "two"}}));
}

TEST(Log, ThreadsTakeTurns) {
  int inside = 0, most = 0, told = 0;
  set_log_sink([&](LogLevel, const std::string&) {
    most = std::max(most, ++inside);
    std::this_thread::yield();
    ++told;
    --inside;
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int j = 0; j < 100; ++j) log_message(LogLevel::debug, "busy");
    });
  }
  for (std::thread& thread : threads) thread.join();
  set_log_sink({});
  EXPECT_EQ(told, 400);
  EXPECT_EQ(most, 1);
}

}  // namespace
}  // namespace ernie_image
