#include "bench/bench_decode.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <span>

#include "backend/cpu/cpu_backend.h"
#include "core/packed_weight.h"
#include "core/thread_pool.h"
#include "models/language_model.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kBenchLayers = 2;
constexpr std::int64_t kReleasedLayers = 26;
constexpr std::int64_t kContextTokens = 256;  // what the released instructions and an answer take

MinistralConfig released_config() {
  MinistralConfig config;
  config.hidden_size = 3072;
  config.intermediate_size = 9216;
  config.num_hidden_layers = kBenchLayers;
  return config;
}

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Reads all of `memory` once.
void read_all(ThreadPool& pool, std::span<const std::uint64_t> memory,
              std::atomic<std::uint64_t>& sink) {
  constexpr std::int64_t kChunk = 1 << 17;  // 1 MiB
  pool.parallel_for((std::ssize(memory) + kChunk - 1) / kChunk, [&](std::int64_t chunk, int) {
    const auto part = memory.subspan(static_cast<std::size_t>(chunk * kChunk));
    const auto count = std::min<std::size_t>(part.size(), kChunk);
    sink += std::accumulate(part.begin(), part.begin() + static_cast<std::ptrdiff_t>(count),
                            std::uint64_t{0});
  });
}

}  // namespace

double packed_bytes_of_weight(Quantization quantization) {
  if (quantization == Quantization::none) return 2;
  const bool int8 = quantization == Quantization::int8;
  constexpr std::int64_t kDepth = 3072;
  const PackedLayout layout(int8 ? WeightFormat::packed_int8 : WeightFormat::packed_int4,
                            {PackedLayout::kPanelOutputs, kDepth});
  return static_cast<double>(layout.record_bytes()) /
         static_cast<double>(PackedLayout::kPanelOutputs * kDepth);
}

double token_bytes(const MinistralConfig& c, std::int64_t layers, double bytes_of_weight) {
  const std::int64_t heads = 2 * c.num_attention_heads + 2 * c.num_key_value_heads;
  const std::int64_t layer = c.hidden_size * (heads * c.head_dim + 3 * c.intermediate_size);
  return bytes_of_weight * static_cast<double>(layers * layer + c.hidden_size * c.vocab_size);
}

std::vector<DecodeRate> measure_decode(const BenchOptions& options, WeightSource& weights) {
  const MinistralConfig config = released_config();
  const auto ops = make_cpu_backend({options.threads, options.cpu_kernels});
  ThreadPool pool(options.threads);
  const Tensor memory = Tensor::host(DType::u64, {std::int64_t{1} << 27});  // 1 GiB
  std::fill_n(memory.data<std::uint64_t>(), memory.size(), 1);
  std::atomic<std::uint64_t> sink{0};

  std::vector<DecodeRate> rates;
  for (const Quantization quantization : kQuantizations) {
    const LanguageModel model(*ops, weights, config, false, quantization);
    const std::vector<std::int32_t> context(kContextTokens, 1);
    KvCache cache = model.make_cache(4 * kContextTokens, DType::f32);
    model.forward(context, cache);
    double token = 1e300, read = 1e300;
    for (int round = 0; round < (options.quick ? 4 : 12); ++round) {
      read = std::min(read, seconds([&] { read_all(pool, memory.span<std::uint64_t>(), sink); }));
      token = std::min(token, seconds([&] { model.forward({context.data(), 1}, cache); }));
    }
    const double weight_bytes = packed_bytes_of_weight(quantization);
    const double bytes = token_bytes(config, kBenchLayers, weight_bytes);
    const double full = token_bytes(config, kReleasedLayers, weight_bytes);
    rates.push_back({quantization, token, 1e-9 * bytes / token,
                     1e-9 * static_cast<double>(memory.size_bytes()) / read, bytes / full / token});
  }
  return rates;
}

}  // namespace ernie_image
