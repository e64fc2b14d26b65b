#include "bench/meter.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>

#include "backend/cpu/kernels.h"
#include "core/thread_pool.h"
#include "ernie_image/error.h"
#include "memory/memory_sampler.h"

namespace ernie_image {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

/// What the threads of the backend could do at most.
class ProcessorProbe {
 public:
  explicit ProcessorProbe(const BenchOptions& options)
      : kernels_(choose_kernels(options.cpu_kernels)),
        pool_(options.threads),
        words_(options.quick ? std::int64_t{1} << 24 : std::int64_t{1} << 27) {}

  /// The best of many short bursts: a long one would rarely have all cores to itself.
  double gflops() {
    constexpr std::int64_t kIterations = 50'000;  // under a millisecond
    constexpr int kBursts = 20;
    double best_seconds = 1e300;
    for (int burst = 0; burst < kBursts; ++burst) {
      const auto start = Clock::now();
      pool_.parallel_for(pool_.num_threads(),
                         [&](std::int64_t, int) { kernels_.gemm.probe_peak(kIterations); });
      best_seconds = std::min(best_seconds, seconds_since(start));
    }
    return 1e-9 * kernels_.gemm.probe_flops * static_cast<double>(kIterations) *
           pool_.num_threads() / best_seconds;
  }

  /// One read of 1 GiB (quick: 128 MiB), which no cache holds.
  double read_gb_per_s() {
    if (memory_.size() == 0) {
      memory_ = Tensor::host(DType::u64, {words_});
      std::fill_n(memory_.data<std::uint64_t>(), memory_.size(), 1);
    }
    const std::span<const std::uint64_t> words = memory_.span<std::uint64_t>();
    constexpr std::int64_t kChunk = 1 << 17;  // 1 MiB
    const auto start = Clock::now();
    pool_.parallel_for(std::ssize(words) / kChunk, [&](std::int64_t chunk, int) {
      const auto part = words.subspan(static_cast<std::size_t>(chunk * kChunk), kChunk);
      sum_ += std::accumulate(part.begin(), part.end(), std::uint64_t{0});
    });
    return 1e-9 * static_cast<double>(memory_.size_bytes()) / seconds_since(start);
  }

 private:
  const KernelTable& kernels_;
  ThreadPool pool_;
  const std::int64_t words_;
  Tensor memory_ = Tensor::host(DType::u64, {0});
  std::atomic<std::uint64_t> sum_{0};  // so that no compiler leaves the read out
};

Meter::Meter(Backend& ops, const BenchOptions& options)
    : ops_(ops), quick_(options.quick), timer_(ops.make_timer()) {
  if (!ops.device_memory()) processor_ = std::make_unique<ProcessorProbe>(options);
}

Meter::~Meter() = default;

BenchResult Meter::measure(const BenchSample& sample) {
  BenchResult result;
  ops_.release_cache();
  ops_.reset_peak_memory();
  try {
    measure_rounds(sample, result);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::out_of_memory && error.kind() != ErrorKind::unsupported) throw;
    result.problem = error.what();
  }
  ops_.end_stage();
  ops_.release_cache();
  return result;
}

void Meter::measure_rounds(const BenchSample& sample, BenchResult& result) {
  const std::function<void()> call = sample.prepare();
  const std::uint64_t before = resident_memory().anonymous_bytes;
  std::unique_ptr<MemorySampler> memory;
  if (sample.watches_memory) memory = std::make_unique<MemorySampler>();

  // The first call maps memory and fills pools; on a card the weights go up then, and from the
  // third on it replays what it recorded.
  const bool is_card = processor_ == nullptr;
  double once = 0;
  for (int i = 0; i < (is_card ? 3 : 1); ++i) once = seconds_of(1, call);
  // Calls in a row hide the way to a card.
  const int calls =
      is_card ? static_cast<int>(std::clamp(0.1 / std::max(once, 1e-7), 1.0, 2000.0)) : 1;
  const double budget_seconds = quick_ ? 0.2 : is_card ? 0.5 : 3.0;
  const int min_rounds = once > budget_seconds ? 1 : quick_ ? 3 : 4;

  result.seconds = 1e300;
  const auto begin = Clock::now();
  for (int round = 0; round < min_rounds || seconds_since(begin) < budget_seconds; ++round) {
    probe(sample, result);
    result.seconds = std::min(result.seconds, seconds_of(calls, call));
  }
  // A host may let both threads share a core for a while; a long operation has one round.
  probe(sample, result);
  result.peak_bytes = ops_.peak_memory_bytes();
  if (memory) result.anonymous_bytes = memory->peak().anonymous_bytes - before;
}

void Meter::probe(const BenchSample& sample, BenchResult& result) {
  if (processor_ == nullptr) return;
  result.peak_gflops = std::max(result.peak_gflops, processor_->gflops());
  if (sample.share_of_model > 0)
    result.read_gb_per_s = std::max(result.read_gb_per_s, processor_->read_gb_per_s());
}

double Meter::seconds_of(int calls, const std::function<void()>& call) {
  timer_->start();
  for (int i = 0; i < calls; ++i) call();
  return timer_->stop() / calls;
}

}  // namespace ernie_image
