// Blocks one after another, the threads of a block as fibers: one runs until it comes to a barrier,
// then the next. A fiber is started once, by makecontext, and then serves one thread after another;
// _setjmp and _longjmp switch without asking the system for its signal mask. One grid runs at a
// time: variables of each host thread would cost a call wherever a kernel looks at its index.
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda_runtime.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_host {
namespace {

constexpr std::size_t kStackBytes = std::size_t{256} << 10;
constexpr int kWarp = 32;

enum class State { ready, at_block_barrier, at_warp_barrier, done };

struct Fiber {
  ucontext_t start{};
  jmp_buf resume;
  bool started = false;
  std::unique_ptr<std::byte[]> stack{new std::byte[kStackBytes]};
  dim3 index;
  State state = State::done;
  std::uint64_t words[8] = {};
};

struct Machine {
  jmp_buf scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<std::uint64_t> shared;
  const std::function<void()>* kernel = nullptr;
  int current = 0;
};
Machine machine;  // of the host thread that holds the mutex
std::mutex mutex;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "cuda_host: %s, block %u %u %u\n", what, blockIdx.x, blockIdx.y, blockIdx.z);
  std::abort();
}

Fiber& current() { return *machine.fibers[static_cast<std::size_t>(machine.current)]; }

/// To the scheduler, until it chooses this fiber again.
void leave(State state) {
  Fiber& fiber = current();
  fiber.state = state;
  if (_setjmp(fiber.resume) == 0) _longjmp(machine.scheduler, 1);
}

void enter() {
  for (;;) {
    (*machine.kernel)();
    leave(State::done);
  }
}

void resume(Fiber& fiber) {
  if (_setjmp(machine.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.resume, 1);
  fiber.started = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.get();
  fiber.start.uc_stack.ss_size = kStackBytes;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, enter, 0);
  setcontext(&fiber.start);
}

void start_fibers(std::size_t threads) {
  while (machine.fibers.size() < threads) machine.fibers.push_back(std::make_unique<Fiber>());
  for (std::size_t i = 0; i < threads; ++i) {
    Fiber& fiber = *machine.fibers[i];
    const auto index = static_cast<unsigned>(i);
    fiber.index =
        dim3(index % blockDim.x, index / blockDim.x % blockDim.y, index / blockDim.x / blockDim.y);
    fiber.state = State::ready;
  }
}

/// Whether all fibers of [begin, end) that still run wait at `barrier`; then they go on.
bool open_barrier(State barrier, std::size_t begin, std::size_t end) {
  bool any = false;
  for (std::size_t i = begin; i < end; ++i) {
    const State state = machine.fibers[i]->state;
    if (state == State::done) continue;
    if (state != barrier) return false;
    any = true;
  }
  for (std::size_t i = begin; any && i < end; ++i) {
    if (machine.fibers[i]->state == barrier) machine.fibers[i]->state = State::ready;
  }
  return any;
}

/// One turn for a warp; whether any of its threads ran.
bool run_warp(std::size_t begin, std::size_t end) {
  bool ran = false;
  do {
    for (std::size_t i = begin; i < end; ++i) {
      Fiber& fiber = *machine.fibers[i];
      if (fiber.state != State::ready) continue;
      ran = true;
      machine.current = static_cast<int>(i);
      threadIdx = fiber.index;
      resume(fiber);
    }
  } while (open_barrier(State::at_warp_barrier, begin, end));
  return ran;
}

void run_block(std::size_t threads) {
  start_fibers(threads);
  for (bool running = true; running;) {
    bool ran = false;
    for (std::size_t begin = 0; begin < threads; begin += kWarp)
      ran = run_warp(begin, std::min(begin + kWarp, threads)) || ran;
    running = open_barrier(State::at_block_barrier, 0, threads);
    if (running) continue;
    for (std::size_t i = 0; i < threads; ++i) {
      if (machine.fibers[i]->state != State::done)
        give_up("some threads wait at a barrier that others do not come to");
    }
  }
}

}  // namespace

void* dynamic_shared() { return machine.shared.data(); }
void block_barrier() { leave(State::at_block_barrier); }
void warp_barrier() { leave(State::at_warp_barrier); }
int own_lane() { return machine.current % kWarp; }

std::uint64_t* lane_words(int lane) {
  const int index = machine.current / kWarp * kWarp + lane;
  Fiber& fiber = *machine.fibers[static_cast<std::size_t>(index)];
  if (fiber.state == State::done) give_up("a lane is asked that has ended");
  return fiber.words;
}

/// For grids of the stream's graph this is called when it is launched.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes,
              const std::function<void()>& kernel) {
  const std::lock_guard lock(mutex);
  gridDim = grid;
  blockDim = block;
  machine.kernel = &kernel;
  // What a kernel finds in shared memory is whatever was there before: never zeros.
  machine.shared.assign(shared_bytes / 8 + 1, ~std::uint64_t{0});
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        run_block(std::size_t{block.x} * block.y * block.z);
      }
    }
  }
}

// ---- tensor core instructions, by the layouts of the PTX manual --------------------------------

namespace {

float bf16_at(std::uint64_t word, int half) {
  const auto bits = static_cast<std::uint32_t>(word >> (16 * half) & 0xffffu) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

/// Element [row][k] of the left factor: register row / 8 + 2 (k / 8) of lane 4 (row % 8) + k % 8
/// / 2.
float left(int row, int k) {
  return bf16_at(lane_words(row % 8 * 4 + k % 8 / 2)[row / 8 + k / 8 * 2], k % 2);
}
/// Element [k][column] of the right one: register k / 8 of lane 4 column + k % 8 / 2.
float right(int k, int column) {
  return bf16_at(lane_words(column * 4 + k % 8 / 2)[4 + k / 8], k % 2);
}

}  // namespace

void mma_16x8x16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  const int lane = own_lane();
  for (int i = 0; i < 4; ++i) lane_words(lane)[i] = a[i];
  for (int i = 0; i < 2; ++i) lane_words(lane)[4 + i] = b[i];
  warp_barrier();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) d[i] += left(row, k) * right(k, column);
  }
  warp_barrier();
}

void load_transposed(std::uint32_t (&r)[4], const void* row) {
  const int lane = own_lane();
  lane_words(lane)[0] = reinterpret_cast<std::uint64_t>(row);
  warp_barrier();
  const auto element = [](int matrix, int matrix_row, int column) {
    const auto address = lane_words(matrix * 8 + matrix_row)[0];
    return std::uint32_t{reinterpret_cast<const std::uint16_t*>(address)[column]};
  };
  for (int matrix = 0; matrix < 4; ++matrix) {
    const int first = lane % 4 * 2, column = lane / 4;
    r[matrix] = element(matrix, first, column) | element(matrix, first + 1, column) << 16;
  }
  warp_barrier();
}

}  // namespace cuda_host
