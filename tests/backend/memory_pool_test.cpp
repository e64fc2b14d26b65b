#include "backend/cpu/memory_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/registry.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMebibyte = std::size_t{1} << 20;

TEST(CpuMemoryPool, BlocksAreAlignedAndWritable) {
  CpuMemoryPool pool;
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{1}, std::size_t{1000}, 5 * kMebibyte}) {
    const std::shared_ptr<std::byte> block = pool.allocate(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.get()) % 64, 0u) << bytes;
    std::memset(block.get(), 1, bytes);
  }
}

TEST(CpuMemoryPool, CountsWhatIsInUseAndItsPeak) {
  CpuMemoryPool pool;
  {
    const auto first = pool.allocate(10 * kMebibyte);
    const auto second = pool.allocate(20 * kMebibyte);
  }
  const auto third = pool.allocate(kMebibyte);
  // Rounding to a size class adds an eighth at most.
  EXPECT_GE(pool.peak_bytes(), 30 * kMebibyte);
  EXPECT_LE(pool.peak_bytes(), 34 * kMebibyte);
  pool.reset_peak();
  EXPECT_GE(pool.peak_bytes(), kMebibyte);
  EXPECT_LE(pool.peak_bytes(), 2 * kMebibyte);
}

#if defined(__SANITIZE_ADDRESS__)  // where blocks are never used twice, to find stray writes
constexpr bool kReuses = false;
#else
constexpr bool kReuses = true;

TEST(CpuMemoryPool, AFreedBlockServesTheNextRequestOfItsSize) {
  CpuMemoryPool pool;
  for (const std::size_t bytes : {std::size_t{100}, 16 * kMebibyte}) {
    const std::byte* first = pool.allocate(bytes).get();
    EXPECT_EQ(pool.allocate(bytes).get(), first);
  }
}

/// The system clears what it gives, which takes long.
TEST(CpuMemoryPool, LargeBlocksAreCutFromFreeOnesAndJoinedAgain) {
  CpuMemoryPool pool;
  std::byte* const whole = pool.allocate(32 * kMebibyte).get();
  whole[0] = whole[16 * kMebibyte] = std::byte{7};
  {
    const auto first = pool.allocate(8 * kMebibyte), second = pool.allocate(16 * kMebibyte);
    EXPECT_EQ(first.get(), whole);
    EXPECT_EQ(second.get(), whole + 8 * kMebibyte);
    EXPECT_EQ(whole[16 * kMebibyte], std::byte{7});  // nobody has cleared it
    EXPECT_EQ(pool.held_bytes(), 32 * kMebibyte);
  }
  EXPECT_EQ(pool.allocate(32 * kMebibyte).get(), whole);
}

TEST(CpuMemoryPool, LargeBlocksArePutTogetherFromFreeOnes) {
  CpuMemoryPool pool;
  std::array<std::shared_ptr<std::byte>, 5> blocks;
  for (auto& block : blocks) {
    block = pool.allocate(8 * kMebibyte);
    std::memset(block.get(), 7, 8 * kMebibyte);
  }
  for (const std::size_t freed : {0, 2, 4}) blocks[freed].reset();
  auto large = pool.allocate(20 * kMebibyte);
  EXPECT_EQ(std::count(large.get(), large.get() + 20 * kMebibyte, std::byte{7}), 20 * kMebibyte);
  EXPECT_EQ(pool.held_bytes(), 40 * kMebibyte);
  std::memset(large.get(), 8, 20 * kMebibyte);
  for (const std::size_t used : {1, 3})
    EXPECT_EQ(std::count(blocks[used].get(), blocks[used].get() + 8 * kMebibyte, std::byte{7}),
              8 * kMebibyte);
  // And once more from what was put together.
  large.reset();
  blocks[3].reset();
  large = pool.allocate(32 * kMebibyte);
  EXPECT_EQ(std::count(large.get(), large.get() + 32 * kMebibyte, std::byte{0}), 0);
}

/// Of what is free the end goes back, and no more than has to.
TEST(CpuMemoryPool, HoldsNoMoreThanWasInUseAtATime) {
  CpuMemoryPool pool;
  pool.allocate(32 * kMebibyte);
  const auto small = pool.allocate(8 * kMebibyte);
  const auto large = pool.allocate(28 * kMebibyte);  // 24 are free, and 4 may be
  EXPECT_EQ(pool.held_bytes(), 36 * kMebibyte);
  EXPECT_EQ(pool.peak_held_bytes(), 36 * kMebibyte);
  std::memset(large.get(), 1, 28 * kMebibyte);
  std::memset(small.get(), 1, 8 * kMebibyte);
  pool.release_cache();
  EXPECT_EQ(pool.held_bytes(), 36 * kMebibyte);
}
#endif

TEST(CpuMemoryPool, BlocksMayOutliveThePoolAndDieOnAnotherThread) {
  std::shared_ptr<std::byte> block;
  {
    CpuMemoryPool pool;
    block = pool.allocate(kMebibyte);
    pool.release_cache();
  }
  block.get()[kMebibyte - 1] = std::byte{1};
  std::thread([moved = std::move(block)]() mutable { moved.reset(); }).join();
}

/// Without its lock the pool miscounts, or hands a block to two threads.
TEST(CpuMemoryPool, ThreadsMayShareIt) {
  // Two cores have to be in it at a time, which takes a while on a busy machine.
  constexpr int kThreads = 4, kRounds = kReuses ? 400'000 : 20'000, kBlocks = 8;
  CpuMemoryPool pool;
  std::atomic<int> waiting{kThreads}, shared_blocks{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      --waiting;
      while (waiting > 0) std::this_thread::yield();  // all at a time
      std::array<std::shared_ptr<std::byte>, kBlocks> blocks;
      for (int i = 0; i < kRounds; ++i) {
        for (auto& block : blocks) {
          block = pool.allocate(64);
          *block = std::byte(thread);
        }
        std::atomic_signal_fence(std::memory_order_seq_cst);  // others may have written meanwhile
        for (auto& block : blocks) {
          if (*block != std::byte(thread)) ++shared_blocks;
          block.reset();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shared_blocks, 0);
  pool.reset_peak();
  EXPECT_EQ(pool.peak_bytes(), 0u);
}

TEST(CpuMemoryPool, AnImpossibleRequestIsOutOfMemory) {
  CpuMemoryPool pool;
  for (const std::size_t bytes : {std::size_t{1} << 62, ~std::size_t{0}}) {
    try {
      pool.allocate(bytes);
      FAIL() << bytes;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
    }
  }
}

TEST(CpuBackend, EmptyTensorsComeFromThePoolAndAreCounted) {
  const auto backend = make_cpu_backend();
  const Tensor tensor = backend->empty(DType::bf16, {1024, 1024});
  EXPECT_EQ(tensor.size_bytes(), 2 * kMebibyte);
  EXPECT_GE(backend->peak_memory_bytes(), 2 * kMebibyte);
  EXPECT_THROW(backend->empty(DType::f64, {std::int64_t{1} << 61}), Error);
}

TEST(CpuBackend, RefusesKernelsThatAreNotThere) {
  try {
    make_cpu_backend({.num_threads = 1, .kernels = "sse9"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("portable"), std::string::npos) << error.what();
  }
}

TEST(CpuBackend, EveryKernelSetItNamesCanBeForced) {
  ASSERT_FALSE(cpu_kernel_names().empty());
  EXPECT_EQ(cpu_kernel_names().back(), "portable");
  for (const std::string& name : cpu_kernel_names())
    EXPECT_NO_THROW(make_cpu_backend({.num_threads = 1, .kernels = name})) << name;
}

}  // namespace
}  // namespace ernie_image
