#include "backend/cpu/memory_pool.h"

#include <gtest/gtest.h>

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
