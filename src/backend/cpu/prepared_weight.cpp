#include "backend/cpu/prepared_weight.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

void require_supported(const Weight& weight) {
  if (weight.dtype == DType::f32 || weight.dtype == DType::f16 || weight.dtype == DType::bf16)
    return;
  throw Error(ErrorKind::unsupported, "cpu: weight " + weight.name + " " + to_string(weight.shape) +
                                          " is " + std::string(dtype_name(weight.dtype)) +
                                          "; expected F32, F16 or BF16");
}

/// A copy in f32; the source may lie at any byte.
Tensor widened(const Weight& weight) {
  Tensor raw = Tensor::host(weight.dtype, weight.shape);
  std::memcpy(raw.bytes(), weight.data, raw.size_bytes());
  return to_float(raw);
}

/// One row to int8; gives its scale. A row of zeros has scale 0.
float quantize_row(std::span<const float> row, std::int8_t* target) {
  float largest = 0;
  for (const float value : row) largest = std::max(largest, std::abs(value));
  const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
  for (std::size_t k = 0; k < row.size(); ++k)
    target[k] = static_cast<std::int8_t>(std::lrintf(row[k] * inverse));
  return largest / 127.0f;
}

}  // namespace

WeightHandle prepare_cpu_weight(const Weight& weight, WeightUse use) {
  require_supported(weight);
  const auto prepared = std::make_shared<CpuWeight>();
  prepared->use = use;
  prepared->source = weight;
  if (weight.data == nullptr) return prepared;
  if (use == WeightUse::vector) prepared->converted = widened(weight);
  if (!prepared->converted.empty()) {
    prepared->source.data = nullptr;
    prepared->source.owner = nullptr;
  }
  return prepared;
}

WeightHandle quantize_cpu_weight(ThreadPool& pool, const GemmKernels& kernels,
                                 const Weight& weight) {
  require_supported(weight);
  const auto prepared = std::make_shared<CpuWeight>();
  prepared->source = weight;
  if (weight.data == nullptr) return prepared;
  const std::int64_t rows = weight.shape[0];
  const std::int64_t depth = weight.shape[1];
  prepared->converted = Tensor::host(DType::i8, weight.shape);
  prepared->scale = Tensor::host(DType::f32, {rows});
  std::vector<std::vector<float>> widened_rows(static_cast<std::size_t>(pool.num_threads()));
  pool.parallel_for(rows, [&](std::int64_t n, int thread) {
    std::vector<float>& row = widened_rows[static_cast<std::size_t>(thread)];
    row.resize(static_cast<std::size_t>(depth));
    const std::size_t offset = static_cast<std::size_t>(n * depth) * size_of(weight.dtype);
    kernels.widen(weight.dtype, weight.data + offset, depth, row.data());
    prepared->scale.data<float>()[n] =
        quantize_row(row, prepared->converted.data<std::int8_t>() + n * depth);
  });
  prepared->source.dtype = DType::i8;
  prepared->source.data = prepared->converted.bytes();
  prepared->source.owner = nullptr;
  return prepared;
}

const CpuWeight& as_cpu_weight(const PreparedWeight& weight, [[maybe_unused]] WeightUse use) {
  const auto& prepared = static_cast<const CpuWeight&>(weight);
  assert(prepared.use == use);
  assert(prepared.source.data != nullptr || !prepared.converted.empty());
  return prepared;
}

}  // namespace ernie_image
