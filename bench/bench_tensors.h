// What the micro-benchmarks share. `ernie-image bench` measures whole operations at the sizes of
// the model; these are for looking closer while working on a kernel.
#pragma once

#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/registry.h"
#include "core/half.h"
#include "core/tensor.h"

namespace ernie_image {

/// The kernel set of index `state.range(0)`; skips the benchmark if there is none.
inline std::unique_ptr<Backend> backend_of(benchmark::State& state) {
  const auto names = cpu_kernel_names();
  const auto index = static_cast<std::size_t>(state.range(0));
  if (index >= names.size()) {
    state.SkipWithError("no such kernel set on this processor");
    return nullptr;
  }
  state.SetLabel(names[index]);
  return make_cpu_backend({.num_threads = 0, .kernels = names[index]});
}

/// Small values without pattern.
inline Tensor noise(DType dtype, Shape shape) {
  Tensor tensor = Tensor::host(DType::f32, std::move(shape));
  std::uint32_t state = 1;
  for (float& value : tensor.span<float>()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
  }
  return round_to(tensor, dtype);
}

inline WeightHandle prepare(Backend& ops, const Tensor& host, WeightUse use) {
  return ops.prepare(
      {"weight", host.dtype(), host.shape(), host.bytes(), std::make_shared<Tensor>(host)}, use);
}

inline void report_flops(benchmark::State& state, std::int64_t products) {
  state.counters["flops"] =
      benchmark::Counter(2.0 * static_cast<double>(products * state.iterations()),
                         benchmark::Counter::kIsRate, benchmark::Counter::kIs1000);
}

}  // namespace ernie_image
