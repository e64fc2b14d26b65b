// Drivers of the norm kernels: check, cut into chunks of rows, hand out.
#include "backend/cpu/norm.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <vector>

namespace ernie_image::cpu {
namespace {

/// Elements of a chunk, about: see elementwise.cpp.
constexpr std::int64_t kChunk = 16384;

/// body(row) for every row of `width` elements.
template <class Body>
void for_each_row(ThreadPool& pool, std::int64_t rows, std::int64_t width, const Body& body) {
  const std::int64_t per_chunk = std::max<std::int64_t>(1, kChunk / width);
  pool.parallel_for((rows + per_chunk - 1) / per_chunk, [&](std::int64_t chunk, int) {
    const std::int64_t end = std::min(rows, (chunk + 1) * per_chunk);
    for (std::int64_t row = chunk * per_chunk; row < end; ++row) body(row);
  });
}

std::byte* at(const Tensor& tensor, std::int64_t element) {
  return tensor.bytes() + element * static_cast<std::int64_t>(size_of(tensor.dtype()));
}

const void* chunk_row(const Chunk& chunk, std::int64_t batch_row, std::int64_t width) {
  return at(chunk.table, batch_row * chunk.table.dim(1) + chunk.index * width);
}

void check_modulation(const Tensor& x, const Chunk& scale, const Chunk& shift) {
  assert(x.rank() == 3 && scale.table.dim(0) == x.dim(0) && shift.table.dim(0) == x.dim(0));
  assert(scale.table.dtype() == x.dtype() && shift.table.dtype() == x.dtype());
  (void)x, (void)scale, (void)shift;
}

}  // namespace

void rms_norm(ThreadPool& pool, const NormKernels& kernels, const Tensor& x, const float* weight,
              float eps, Tensor& y) {
  assert(x.dtype() == y.dtype() && x.size() == y.size());
  const std::int64_t width = x.dim(-1);
  const auto kernel = kernels.of(x.dtype()).rms_norm;
  for_each_row(pool, x.size() / width, width, [&](std::int64_t row) {
    kernel(at(x, row * width), weight, eps, {}, at(y, row * width), width);
  });
}

void rms_norm_modulate(ThreadPool& pool, const NormKernels& kernels, const Tensor& x,
                       const float* weight, float eps, Chunk scale, Chunk shift, Tensor& y) {
  check_modulation(x, scale, shift);
  const std::int64_t tokens = x.dim(1);
  const std::int64_t width = x.dim(2);
  const auto kernel = kernels.of(x.dtype()).rms_norm;
  for_each_row(pool, x.dim(0) * tokens, width, [&](std::int64_t row) {
    kernel(at(x, row * width), weight, eps,
           {chunk_row(scale, row / tokens, width), chunk_row(shift, row / tokens, width)},
           at(y, row * width), width);
  });
}

void layer_norm_modulate(ThreadPool& pool, const NormKernels& kernels, const Tensor& x, float eps,
                         Chunk scale, Chunk shift, Tensor& y) {
  check_modulation(x, scale, shift);
  const std::int64_t tokens = x.dim(1);
  const std::int64_t width = x.dim(2);
  const auto kernel = kernels.of(x.dtype()).layer_norm_modulate;
  for_each_row(pool, x.dim(0) * tokens, width, [&](std::int64_t row) {
    kernel(at(x, row * width), eps,
           {chunk_row(scale, row / tokens, width), chunk_row(shift, row / tokens, width)},
           at(y, row * width), width);
  });
}

void norm_rope(ThreadPool& pool, const NormKernels& kernels, const Tensor& x,
               const float* norm_weight, float eps, const RotaryTable& rotary, Tensor& y) {
  assert(x.rank() == 4 && x.dim(3) % 2 == 0 && x.dtype() == y.dtype() && x.size() == y.size());
  const std::int64_t tokens = x.dim(1);
  const std::int64_t heads = x.dim(2);
  const std::int64_t width = x.dim(3);
  const bool rotates = !rotary.cos.empty();
  const bool scales = !rotary.row_scale.empty();
  assert(!rotates || rotary.cos.dim(0) == 1 || rotary.cos.dim(0) == x.dim(0));
  const bool shared = rotates && rotary.cos.dim(0) == 1;
  const auto kernel = kernels.of(x.dtype()).norm_rope;
  for_each_row(pool, x.dim(0) * tokens, heads * width, [&](std::int64_t row) {
    const std::int64_t position = shared ? row % tokens : row;
    const NormKernels::Rotation rotation = {
        rotates ? rotary.cos.data<float>() + position * width : nullptr,
        rotates ? rotary.sin.data<float>() + position * width : nullptr,
        scales ? rotary.row_scale.data<float>() + position : nullptr};
    for (std::int64_t head = 0; head < heads; ++head) {
      const std::int64_t offset = (row * heads + head) * width;
      kernel(at(x, offset), norm_weight, eps, rotation, at(y, offset), width);
    }
  });
}

}  // namespace ernie_image::cpu
