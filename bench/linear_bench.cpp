// Linear layers by row count, from one row (bound by memory) to many (bound by arithmetic).
#include "bench_tensors.h"

namespace ernie_image {
namespace {

void BM_Linear(benchmark::State& state, DType weight_dtype, DType activation_dtype) {
  const auto ops = backend_of(state);
  if (ops == nullptr) return;
  const std::int64_t rows = state.range(1);
  constexpr std::int64_t kWidth = 4096;
  const Tensor x = noise(activation_dtype, {rows, kWidth});
  const WeightHandle weight =
      prepare(*ops, noise(weight_dtype, {kWidth, kWidth}), WeightUse::linear);
  for (auto _ : state) benchmark::DoNotOptimize(ops->linear(x, *weight));
  report_flops(state, rows * kWidth * kWidth);
  state.SetBytesProcessed(state.iterations() * kWidth * kWidth *
                          static_cast<std::int64_t>(size_of(weight_dtype)));
}

void rows_and_kernels(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"kernels", "rows"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const int kernels : {0, 1, 2}) {
    for (const int rows : {1, 2, 4, 8, 16, 32, 64, 288}) benchmark->Args({kernels, rows});
  }
}

BENCHMARK_CAPTURE(BM_Linear, bf16_weight, DType::bf16, DType::f32)->Apply(rows_and_kernels);
BENCHMARK_CAPTURE(BM_Linear, f32_weight, DType::f32, DType::f32)->Apply(rows_and_kernels);
BENCHMARK_CAPTURE(BM_Linear, bf16_all, DType::bf16, DType::bf16)->Apply(rows_and_kernels);

}  // namespace
}  // namespace ernie_image
