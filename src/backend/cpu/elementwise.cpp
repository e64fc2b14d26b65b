// Drivers of the element-wise kernels: check, cut into chunks, hand out.
#include "backend/cpu/elementwise.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <string>

#include "ernie_image/error.h"

namespace ernie_image::cpu {
namespace {

/// Elements of a chunk: its operands fit a first-level cache a few times over, and a chunk lasts
/// long enough (microseconds) for the hand-out not to count.
constexpr std::int64_t kChunk = 16384;

/// body(begin, count) for consecutive ranges of [0, size).
template <class Body>
void for_each_chunk(ThreadPool& pool, std::int64_t size, const Body& body) {
  pool.parallel_for((size + kChunk - 1) / kChunk, [&](std::int64_t chunk, int) {
    const std::int64_t begin = chunk * kChunk;
    body(begin, std::min(kChunk, size - begin));
  });
}

std::byte* at(const Tensor& tensor, std::int64_t element) {
  return tensor.bytes() + element * static_cast<std::int64_t>(size_of(tensor.dtype()));
}

using BinaryKernel = void (*)(const void*, const void*, void*, std::int64_t);

void run_binary(ThreadPool& pool, BinaryKernel kernel, const Tensor& a, const Tensor& b,
                Tensor& y) {
  assert(a.shape() == b.shape() && a.size() == y.size());
  assert(a.dtype() == b.dtype() && a.dtype() == y.dtype());
  for_each_chunk(pool, a.size(), [&](std::int64_t begin, std::int64_t count) {
    kernel(at(a, begin), at(b, begin), at(y, begin), count);
  });
}

using UnaryKernel = void (*)(const void*, void*, std::int64_t);

void run_unary(ThreadPool& pool, UnaryKernel kernel, const Tensor& x, Tensor& y) {
  assert(x.size() == y.size());
  for_each_chunk(pool, x.size(), [&](std::int64_t begin, std::int64_t count) {
    kernel(at(x, begin), at(y, begin), count);
  });
}

UnaryKernel converter(const ElementwiseKernels::Table& kernels, DType from) {
  switch (from) {
    case DType::f32:
      return kernels.from_f32;
    case DType::bf16:
      return kernels.from_bf16;
    case DType::f16:
      return kernels.from_f16;
    default:
      throw Error(ErrorKind::unsupported, "cpu: cannot convert " + std::string(dtype_name(from)) +
                                              " to activations; expected F32, BF16 or F16");
  }
}

}  // namespace

void embedding(ThreadPool& pool, const ElementwiseKernels& kernels,
               std::span<const std::int32_t> ids, const Weight& table, Tensor& y) {
  const std::int64_t width = table.shape.at(1);
  assert(y.size() == static_cast<std::int64_t>(ids.size()) * width);
  const bool encoded = table.format == WeightFormat::encoded;
  const UnaryKernel convert = converter(kernels.of(y.dtype()), encoded ? DType::f32 : table.dtype);
  const auto row_bytes = width * static_cast<std::int64_t>(size_of(table.dtype));
  pool.parallel_for(static_cast<std::int64_t>(ids.size()), [&](std::int64_t row, int) {
    const std::int64_t id = ids[static_cast<std::size_t>(row)];
    assert(id >= 0 && id < table.shape[0]);
    if (!encoded) return convert(table.data + id * row_bytes, at(y, row * width), width);
    std::vector<float> values(static_cast<std::size_t>(width));
    table.decoder->decode(id * width, width, values.data());
    convert(reinterpret_cast<const std::byte*>(values.data()), at(y, row * width), width);
  });
}

void add(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& a, const Tensor& b,
         Tensor& y) {
  run_binary(pool, kernels.of(a.dtype()).add, a, b, y);
}

void multiply(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& a, const Tensor& b,
              Tensor& y) {
  run_binary(pool, kernels.of(a.dtype()).multiply, a, b, y);
}

void gelu_mul(ThreadPool& pool, const ElementwiseKernels& kernels, GeluForm form,
              const Tensor& gate, const Tensor& up, Tensor& y) {
  const ElementwiseKernels::Table& table = kernels.of(gate.dtype());
  run_binary(pool, form == GeluForm::tanh ? table.gelu_tanh_mul : table.gelu_mul, gate, up, y);
}

void silu_mul(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& gate,
              const Tensor& up, Tensor& y) {
  run_binary(pool, kernels.of(gate.dtype()).silu_mul, gate, up, y);
}

void gelu(ThreadPool& pool, const ElementwiseKernels& kernels, GeluForm form, const Tensor& x,
          Tensor& y) {
  assert(x.dtype() == y.dtype());
  const ElementwiseKernels::Table& table = kernels.of(x.dtype());
  run_unary(pool, form == GeluForm::tanh ? table.gelu_tanh : table.gelu, x, y);
}

void silu(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& x, Tensor& y) {
  assert(x.dtype() == y.dtype());
  run_unary(pool, kernels.of(x.dtype()).silu, x, y);
}

void gated_add(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& x, Chunk gate,
               const Tensor& branch, Tensor& y) {
  const std::int64_t tokens = x.dim(1);
  const std::int64_t width = x.dim(2);
  assert(x.shape() == branch.shape() && x.size() == y.size() && gate.table.dim(0) == x.dim(0));
  assert(x.dtype() == gate.table.dtype() && x.dtype() == branch.dtype() && x.dtype() == y.dtype());
  const auto kernel = kernels.of(x.dtype()).gated_add;
  const std::int64_t rows_per_chunk = std::max<std::int64_t>(1, kChunk / width);
  const std::int64_t rows = x.dim(0) * tokens;
  pool.parallel_for((rows + rows_per_chunk - 1) / rows_per_chunk, [&](std::int64_t chunk, int) {
    const std::int64_t end = std::min(rows, (chunk + 1) * rows_per_chunk);
    for (std::int64_t row = chunk * rows_per_chunk; row < end; ++row) {
      const std::byte* vector =
          at(gate.table, row / tokens * gate.table.dim(1) + gate.index * width);
      kernel(at(x, row * width), vector, at(branch, row * width), at(y, row * width), width);
    }
  });
}

void cast(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& x, Tensor& y) {
  run_unary(pool, converter(kernels.of(y.dtype()), x.dtype()), x, y);
}

}  // namespace ernie_image::cpu
