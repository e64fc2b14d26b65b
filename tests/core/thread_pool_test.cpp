#include "core/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace ernie_image {
namespace {

TEST(ThreadPool, RunsEveryChunkOnceOnAThreadInRange) {
  for (const int threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.num_threads(), threads);
    std::vector<std::atomic<int>> runs(1000);
    std::atomic<bool> in_range = true;
    pool.parallel_for(1000, [&](std::int64_t chunk, int thread) {
      ++runs[static_cast<std::size_t>(chunk)];
      if (thread < 0 || thread >= threads) in_range = false;
    });
    for (const auto& count : runs) EXPECT_EQ(count, 1);
    EXPECT_TRUE(in_range);
  }
}

TEST(ThreadPool, NoTwoBodiesShareAThreadNumberAtATime) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> busy(4);
  std::atomic<bool> clash = false;
  for (int round = 0; round < 200; ++round) {
    pool.parallel_for(16, [&](std::int64_t, int thread) {
      std::atomic<int>& mine = busy[static_cast<std::size_t>(thread)];
      if (++mine != 1) clash = true;
      --mine;
    });
  }
  EXPECT_FALSE(clash);
}

TEST(ThreadPool, NoChunksIsNoWork) {
  ThreadPool pool(2);
  pool.parallel_for(0, [](std::int64_t, int) { FAIL(); });
}

TEST(ThreadPool, WhatABodyWroteIsSeenAfterwards) {
  ThreadPool pool(3);
  std::vector<int> values(64);
  for (int round = 1; round <= 500; ++round) {
    pool.parallel_for(
        64, [&](std::int64_t chunk, int) { values[static_cast<std::size_t>(chunk)] += 1; });
    EXPECT_EQ(values[63], round);
  }
}

TEST(ThreadPool, WaitsForTheSlowestChunk) {
  ThreadPool pool(2);
  std::atomic<int> begun = 0;
  std::atomic<bool> slow_one_ended = false;
  pool.parallel_for(2, [&](std::int64_t, int thread) {
    ++begun;
    while (begun < 2) std::this_thread::yield();  // one chunk each
    if (thread == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // far beyond the spinning
    slow_one_ended = true;
  });
  EXPECT_TRUE(slow_one_ended);
}

TEST(ThreadPool, WorkersThatSleptWakeUpAgain) {
  ThreadPool pool(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // far beyond the spinning
    std::atomic<int> meeting = 0;
    // Both chunks wait for each other, so one thread alone could not finish.
    pool.parallel_for(2, [&](std::int64_t, int) {
      ++meeting;
      while (meeting < 2) std::this_thread::yield();
    });
  }
}

TEST(ThreadPool, TheFirstExceptionStopsTheHandOutAndComesBack) {
  ThreadPool pool(2);
  std::atomic<int> runs = 0;
  const auto body = [&](std::int64_t chunk, int) {
    ++runs;
    if (chunk == 3) throw std::runtime_error("chunk 3");
  };
  EXPECT_THROW(pool.parallel_for(1'000'000, body), std::runtime_error);
  EXPECT_LT(runs, 1'000'000);
  std::atomic<int> later = 0;
  pool.parallel_for(10, [&](std::int64_t, int) { ++later; });
  EXPECT_EQ(later, 10);
}

TEST(ThreadPool, ARequestedCancelStopsBetweenChunks) {
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    const auto token = std::make_shared<CancelToken>();
    pool.set_cancel_token(token);
    std::atomic<int> runs = 0;
    const auto body = [&](std::int64_t, int) {
      if (++runs == 5) token->request();
    };
    try {
      pool.parallel_for(1'000'000, body);
      FAIL() << "not cancelled";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::cancelled);
    }
    EXPECT_LE(runs, 5 + threads);
    pool.set_cancel_token(nullptr);
    EXPECT_NO_THROW(pool.parallel_for(10, [](std::int64_t, int) {}));
  }
}

TEST(ThreadPool, TheAffinityMaskLimitsTheAvailableCpus) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(available_cpus(), 1);
  EXPECT_EQ(ThreadPool().num_threads(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
  EXPECT_LE(available_cpus(), CPU_COUNT(&before));
}

TEST(ThreadPool, ZeroMeansTheAvailableCpus) {
  EXPECT_GE(available_cpus(), 1);
  EXPECT_EQ(ThreadPool(0).num_threads(), available_cpus());
}

}  // namespace
}  // namespace ernie_image
