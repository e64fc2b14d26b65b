// Operations that only move elements: rows joined, cut and transposed, pixels doubled.
#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstring>

#include "backend/cpu/elementwise.h"

namespace ernie_image::cpu {
namespace {

/// Copies `bytes` in pieces shared out over the threads.
void copy(ThreadPool& pool, const std::byte* from, std::byte* to, std::size_t bytes) {
  constexpr std::size_t kPiece = std::size_t{1} << 18;
  const auto pieces = static_cast<std::int64_t>((bytes + kPiece - 1) / kPiece);
  pool.parallel_for(pieces, [&](std::int64_t piece, int) {
    const std::size_t begin = static_cast<std::size_t>(piece) * kPiece;
    std::memcpy(to + begin, from + begin, std::min(kPiece, bytes - begin));
  });
}

std::size_t bytes_of_one(const Tensor& x) {  // of one entry of the first axis
  return x.dim(0) == 0 ? 0 : x.size_bytes() / static_cast<std::size_t>(x.dim(0));
}

/// Columns [begin, end) of x [rows, columns], written as rows of y [columns, rows].
template <class T>
void transpose_columns(const T* x, T* y, std::int64_t rows, std::int64_t columns,
                       std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kBlock = 16;  // rows at a time: one cache line of each row of y
  for (std::int64_t row = 0; row < rows; row += kBlock) {
    const std::int64_t last = std::min(rows, row + kBlock);
    for (std::int64_t column = begin; column < end; ++column) {
      for (std::int64_t r = row; r < last; ++r) y[column * rows + r] = x[r * columns + column];
    }
  }
}

template <class T>
void transpose_typed(ThreadPool& pool, const Tensor& x, Tensor& y) {
  constexpr std::int64_t kStrip = 64;  // columns of a chunk
  const std::int64_t rows = x.dim(1);
  const std::int64_t columns = x.dim(2);
  const std::int64_t strips = (columns + kStrip - 1) / kStrip;
  pool.parallel_for(x.dim(0) * strips, [&](std::int64_t chunk, int) {
    const std::int64_t offset = chunk / strips * rows * columns;
    const std::int64_t begin = chunk % strips * kStrip;
    transpose_columns(x.data<T>() + offset, y.data<T>() + offset, rows, columns, begin,
                      std::min(columns, begin + kStrip));
  });
}

}  // namespace

void concat_rows(ThreadPool& pool, const Tensor& a, const Tensor& b, Tensor& y) {
  assert(a.dtype() == b.dtype() && a.dim(0) == b.dim(0) && a.dim(2) == b.dim(2));
  assert(y.dtype() == a.dtype() && y.size() == a.size() + b.size());
  const std::size_t first = bytes_of_one(a);
  const std::size_t second = bytes_of_one(b);
  for (std::size_t row = 0; row < static_cast<std::size_t>(a.dim(0)); ++row) {
    std::byte* target = y.bytes() + row * (first + second);
    copy(pool, a.bytes() + row * first, target, first);
    copy(pool, b.bytes() + row * second, target + first, second);
  }
}

void slice_rows(ThreadPool& pool, const Tensor& x, std::int64_t begin, Tensor& y) {
  assert(begin >= 0 && begin + y.dim(1) <= x.dim(1) && y.dtype() == x.dtype());
  const std::size_t source = bytes_of_one(x);
  const std::size_t bytes = bytes_of_one(y);
  const std::size_t skip = static_cast<std::size_t>(begin * x.dim(2)) * size_of(x.dtype());
  for (std::size_t row = 0; row < static_cast<std::size_t>(x.dim(0)); ++row) {
    copy(pool, x.bytes() + row * source + skip, y.bytes() + row * bytes, bytes);
  }
}

void transpose_rows(ThreadPool& pool, const Tensor& x, Tensor& y) {
  assert(x.dtype() == y.dtype() && x.size() == y.size());
  if (size_of(x.dtype()) == sizeof(std::uint32_t)) {
    transpose_typed<std::uint32_t>(pool, x, y);
  } else {
    transpose_typed<std::uint16_t>(pool, x, y);
  }
}

void upsample_nearest2x(ThreadPool& pool, const Tensor& x, Tensor& y) {
  assert(x.dtype() == y.dtype() && y.size() == 4 * x.size());
  const std::size_t pixel = static_cast<std::size_t>(x.dim(3)) * size_of(x.dtype());
  const std::size_t width = static_cast<std::size_t>(x.dim(2));
  pool.parallel_for(x.dim(0) * x.dim(1), [&](std::int64_t line, int) {
    const std::byte* from = x.bytes() + static_cast<std::size_t>(line) * width * pixel;
    std::byte* to = y.bytes() + static_cast<std::size_t>(line) * 4 * width * pixel;
    for (std::size_t column = 0; column < width; ++column) {
      std::memcpy(to + 2 * column * pixel, from + column * pixel, pixel);
      std::memcpy(to + (2 * column + 1) * pixel, from + column * pixel, pixel);
    }
    std::memcpy(to + 2 * width * pixel, to, 2 * width * pixel);
  });
}

}  // namespace ernie_image::cpu
