#include "backend/cpu/low_rank.h"

#include <algorithm>
#include <array>

#include "backend/cpu/block_product.h"
#include "core/half.h"

namespace ernie_image::cpu {
namespace {

// What is read at a time: so much of eight rows of `down` stays in the L1 cache while rows of x,
// which L2 holds, pass by.
constexpr std::int64_t kRangeDepth = 1024;
constexpr std::int64_t kRowsOfChunk = 32;

// Keeps rows of 2^n elements from falling into the same sets of the L1 cache.
constexpr std::int64_t kRowPadding = 16;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) {
  return ceil_div(n, unit) * unit;
}

const std::byte* row_of(const Weight& weight, std::int64_t row) {
  return weight.data + static_cast<std::size_t>(row * weight.shape[1]) * size_of(weight.dtype);
}

/// Rows of `down` of all factors in f32, one after another, `stride` floats apart.
std::shared_ptr<float> widened_downs(ThreadPool& pool, CpuMemoryPool& memory,
                                     const GemmKernels& kernels,
                                     std::span<const LowRankFactors> factors, std::int64_t ranks,
                                     std::int64_t stride) {
  std::shared_ptr<float> rows = memory.allocate_floats(ranks * stride);
  std::int64_t first = 0;
  for (const LowRankFactors& factor : factors) {
    const Weight& down = *factor.down;
    pool.parallel_for(down.shape[0], [&](std::int64_t row, int) {
      kernels.widen(down.dtype, row_of(down, row), down.shape[1],
                    rows.get() + (first + row) * stride);
    });
    first += down.shape[0];
  }
  return rows;
}

/// target[rows of x][ranks] += x downs^T of elements [k, k + depth).
void add_range(const GemmKernels& kernels, const WeightRows& x, const float* downs,
               std::int64_t stride, std::int64_t ranks, std::int64_t depth, float* target) {
  std::array<float, GemmKernels::kMaxVectors * kRowsOfChunk> result;
  for (std::int64_t first = 0; first < ranks; first += GemmKernels::kMaxVectors) {
    const int count =
        static_cast<int>(std::min<std::int64_t>(GemmKernels::kMaxVectors, ranks - first));
    kernels.multiply_vectors({downs + first * stride, stride, count}, x, depth, result.data(),
                             kRowsOfChunk);
    for (std::int64_t row = 0; row < x.count; ++row) {
      for (int i = 0; i < count; ++i)
        target[row * ranks + first + i] += result[static_cast<std::size_t>(i * kRowsOfChunk + row)];
    }
  }
}

/// x times all `down`: narrow [M][ranks], rounded as x is.
void multiply_downs(ThreadPool& pool, const GemmKernels& kernels, const Tensor& x,
                    const float* downs, std::int64_t stride, std::int64_t ranks, float* narrow) {
  const std::int64_t depth = x.dim(-1), total = x.size() / depth;
  const auto element = static_cast<std::int64_t>(size_of(x.dtype()));
  pool.parallel_for(ceil_div(total, kRowsOfChunk), [&](std::int64_t chunk, int) {
    const std::int64_t begin = chunk * kRowsOfChunk;
    const std::int64_t count = std::min(kRowsOfChunk, total - begin);
    float* const mine = narrow + begin * ranks;
    std::fill_n(mine, count * ranks, 0.0f);
    for (std::int64_t k = 0; k < depth; k += kRangeDepth) {
      add_range(kernels,
                {x.dtype(), x.bytes() + (begin * depth + k) * element, depth * element,
                 static_cast<int>(count)},
                downs + k, stride, ranks, std::min(kRangeDepth, depth - k), mine);
    }
    if (x.dtype() != DType::bf16) return;
    for (std::int64_t i = 0; i < count * ranks; ++i) mine[i] = round_to_bf16(mine[i]);
  });
}

/// `up` [N, R] as [R][stride] f32, zeros beyond N.
std::shared_ptr<float> transposed_up(ThreadPool& pool, CpuMemoryPool& memory,
                                     const GemmKernels& kernels, const Weight& up,
                                     std::int64_t stride) {
  const std::int64_t outputs = up.shape[0], rank = up.shape[1], width = kernels.tile_columns;
  std::shared_ptr<float> columns = memory.allocate_floats(rank * stride);
  const std::shared_ptr<float> scratch = memory.allocate_floats(pool.num_threads() * rank * width);
  pool.parallel_for(ceil_div(stride, width), [&](std::int64_t panel, int thread) {
    const std::int64_t first = panel * width, count = std::min(width, stride - first);
    float* const packed = scratch.get() + thread * rank * width;
    const std::vector<std::byte> zeros(static_cast<std::size_t>(rank) * sizeof(float));
    std::array<const std::byte*, kMaxPanelWidth> rows;
    for (std::int64_t i = 0; i < width; ++i)
      rows[static_cast<std::size_t>(i)] =
          first + i < outputs ? row_of(up, first + i) : zeros.data();
    kernels.pack_right(up.dtype, rows.data(), rank, packed);
    for (std::int64_t k = 0; k < rank; ++k)
      std::copy_n(packed + k * width, count, columns.get() + k * stride + first);
  });
  return columns;
}

}  // namespace

LowRankTerms::LowRankTerms(ThreadPool& pool, CpuMemoryPool& memory, const GemmKernels& kernels,
                           const Tensor& x, std::span<const LowRankFactors> factors) {
  std::int64_t ranks = 0;
  for (const LowRankFactors& factor : factors) ranks += factor.down->shape[0];
  if (ranks == 0 || x.size() == 0) return;
  const std::int64_t depth = x.dim(-1), stride = round_up(depth, kRowPadding) + kRowPadding;
  narrow_ = memory.allocate_floats(x.size() / depth * ranks);
  const std::shared_ptr<float> downs = widened_downs(pool, memory, kernels, factors, ranks, stride);
  multiply_downs(pool, kernels, x, downs.get(), stride, ranks, narrow_.get());
  std::int64_t first = 0;
  for (const LowRankFactors& factor : factors) {
    const std::int64_t rank = factor.down->shape[0];
    const std::int64_t up_stride = round_up(factor.up->shape[0], kRowPadding) + kRowPadding;
    ups_.push_back(transposed_up(pool, memory, kernels, *factor.up, up_stride));
    terms_.push_back({narrow_.get() + first, ranks, ups_.back().get(), up_stride, rank});
    first += rank;
  }
}

}  // namespace ernie_image::cpu
