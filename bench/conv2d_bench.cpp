// Convolutions of the VAE decoder, by channels and size.
#include "bench_tensors.h"

namespace ernie_image {
namespace {

void BM_Conv2d(benchmark::State& state) {
  const auto ops = backend_of(state);
  if (ops == nullptr) return;
  const std::int64_t channels = state.range(1);
  const std::int64_t side = state.range(2);
  const std::int64_t kernel = state.range(3);
  const Tensor x = noise(DType::f32, {1, side, side, channels});
  const WeightHandle weight =
      prepare(*ops, noise(DType::bf16, {channels, channels, kernel, kernel}), WeightUse::conv2d);
  const WeightHandle bias = prepare(*ops, noise(DType::bf16, {channels}), WeightUse::vector);
  for (auto _ : state) benchmark::DoNotOptimize(ops->conv2d(x, *weight, *bias));
  report_flops(state, side * side * channels * channels * kernel * kernel);
}

BENCHMARK(BM_Conv2d)
    ->ArgNames({"kernels", "channels", "side", "kernel"})
    ->ArgsProduct({{0, 1, 2}, {128, 512}, {32, 128}, {1, 3}})
    ->Args({0, 512, 256, 3})
    ->Args({0, 256, 256, 3})
    ->Args({0, 128, 512, 3})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace ernie_image
