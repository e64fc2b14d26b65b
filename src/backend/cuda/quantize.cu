#include "backend/cuda/quantize.h"

#include <algorithm>

#include "backend/cuda/kernel.h"
#include "backend/cuda/operations.h"
#include "ernie_image/error.h"

namespace ernie_image::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kLaneValues = 8;                   // neighbours in one lane
constexpr int kChunk = kWarp * kLaneValues;      // 256, the widest rotation
constexpr std::size_t kMostShared = 160 * 1024;  // a block of sm_80 may have 163 KiB
constexpr std::size_t kAlignment = 256;

// ---- rotation --------------------------------------------------------------------------------

/// Values [k, k + 8) of a row of `depth`, zeros beyond. vectors: both are multiples of 8.
template <typename X>
__device__ __forceinline__ void load_lane(const X* row, std::int64_t k, std::int64_t depth,
                                          bool vectors, float* values) {
  if (vectors && k < depth) {
    const Vec<X, kLaneValues> loaded = load<kLaneValues>(row + k);
    for (int j = 0; j < kLaneValues; ++j) values[j] = to_float(loaded.v[j]);
    return;
  }
  for (int j = 0; j < kLaneValues; ++j) values[j] = k + j < depth ? to_float(row[k + j]) : 0.0f;
}

/// Fast Walsh-Hadamard transform of the 256 numbers of a warp, in blocks of `rotation`.
__device__ __forceinline__ void rotate_chunk(float* values, int rotation, int lane) {
  if (rotation == 1) return;
  for (int half = 1; half < kLaneValues; half *= 2) {
    for (int j = 0; j < kLaneValues; ++j) {
      if ((j & half) != 0) continue;
      const float low = values[j], high = values[j + half];
      values[j] = low + high;
      values[j + half] = low - high;
    }
  }
  for (int half = kLaneValues; half < rotation; half *= 2) {
    const int partner = half / kLaneValues;
    for (int j = 0; j < kLaneValues; ++j) {
      const float other = __shfl_xor_sync(0xffffffffu, values[j], partner);
      values[j] = (lane & partner) != 0 ? other - values[j] : values[j] + other;
    }
  }
  const float norm = 1.0f / sqrtf(static_cast<float>(rotation));
  for (int j = 0; j < kLaneValues; ++j) values[j] *= norm;
}

/// A block for each row of `depth`: take(k, values) is called with the rotated values [k, k + 8) of
/// the row filled up to `padded`.
template <typename X, typename Take>
__device__ __forceinline__ void for_rotated(const X* row, std::int64_t depth, std::int64_t padded,
                                            int rotation, bool vectors, Take take) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (std::int64_t begin = threadIdx.x / kWarp * kChunk; begin < padded;
       begin += kWarps * kChunk) {
    float values[kLaneValues];
    const std::int64_t k = begin + lane * kLaneValues;
    load_lane(row, k, depth, vectors, values);
    rotate_chunk(values, rotation, lane);
    take(k, values);
  }
}

/// The rotated row waits in shared memory until its largest number is known.
/// Bound: bytes, an X read and a code written each element. Expected: 55 % of the memory's rate:
/// the rotation and the row's largest number hold its block up.
template <typename X>
__global__ void quantize(const X* x, std::int64_t depth, std::int64_t padded, int rotation,
                         bool vectors, std::int8_t* codes, float* scales) {
  float* const rotated = dynamic_shared<float>();  // [padded to whole chunks]
  const std::int64_t row = blockIdx.x;
  float largest = 0, poison = 0;  // poison: 0, or NaN if anything is not finite
  const auto keep = [&](std::int64_t k, const float* values) {
    for (int j = 0; j < kLaneValues; ++j) {
      largest = fmaxf(largest, fabsf(values[j]));
      poison += values[j] * 0.0f;
      rotated[k + j] = values[j];
    }
  };
  for_rotated(x + row * depth, depth, padded, rotation, vectors, keep);
  largest = block_max(largest);
  poison = block_sum(poison);
  const bool finite = poison == 0.0f;
  const float inverse = finite && largest > 0 ? 127.0f / largest : 0.0f;
  if (threadIdx.x == 0) scales[row] = largest / 127.0f + poison;
  for (std::int64_t k = threadIdx.x * 4; k < padded; k += kThreads * 4) {
    Vec<std::int8_t, 4> code;
    for (int j = 0; j < 4; ++j)
      code.v[j] =
          finite ? static_cast<std::int8_t>(rintf(rotated[k + j] * inverse)) : std::int8_t(0);
    store<4>(codes + row * padded + k, code);
  }
}

/// Bound: bytes, an X read and an f32 written each element. Expected: 65 % of the memory's rate.
template <typename X>
__global__ void rotate(const X* x, std::int64_t depth, std::int64_t padded, int rotation,
                       bool vectors, X* y) {
  const std::int64_t row = blockIdx.x;
  const auto keep = [&](std::int64_t k, const float* values) {
    for (int j = 0; j < kLaneValues && k + j < padded; ++j)
      y[row * padded + k + j] = from_float<X>(values[j]);
  };
  for_rotated(x + row * depth, depth, padded, rotation, vectors, keep);
}

// ---- products --------------------------------------------------------------------------------

/// y = sums * scale of the row * scale of the column + bias, a block for each row.
/// Bound: bytes, an int read and a Y written each element. Expected: 80 % of the memory's rate.
template <int N, typename Y>
__global__ void rescale(const int* sums, std::int64_t columns, const float* x_scales,
                        const float* w_scales, const float* bias, Y* y, std::int64_t y_stride) {
  const std::int64_t row = blockIdx.x;
  const float row_scale = x_scales[row];
  for (std::int64_t c = threadIdx.x * N; c < columns; c += kThreads * N) {
    const Vec<int, N> sum = load<N>(sums + row * columns + c);
    const Vec<float, N> scale = load<N>(w_scales + c);
    Vec<Y, N> result;
    for (int j = 0; j < N; ++j) {
      const float value = static_cast<float>(sum.v[j]) * (row_scale * scale.v[j]);
      result.v[j] = from_float<Y>(bias == nullptr ? value : value + bias[c + j]);
    }
    store<N>(y + row * y_stride + c, result);
  }
}

/// One row of codes times rows of codes, a warp for each output.
/// Bound: bytes, the codes once, one a weight. Expected: 80 % of the memory's rate.
template <typename Y>
__global__ void row_product8(const std::int8_t* x, const float* x_scale, const std::int8_t* w,
                             const float* w_scales, const float* bias, std::int64_t columns,
                             std::int64_t padded, Y* y) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (n >= columns) return;  // a whole warp
  int sum = 0;
#pragma unroll 4
  for (std::int64_t k = lane * 16; k < padded; k += kWarp * 16) {
    const Vec<int, 4> a = load<4>(reinterpret_cast<const int*>(x + k));
    const Vec<int, 4> b = load<4>(reinterpret_cast<const int*>(w + n * padded + k));
    for (int j = 0; j < 4; ++j) sum = __dp4a(a.v[j], b.v[j], sum);
  }
  for (int step = kWarp / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (lane != 0) return;
  const float value = static_cast<float>(sum) * (x_scale[0] * w_scales[n]);
  y[n] = from_float<Y>(bias == nullptr ? value : value + bias[n]);
}

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

template <typename X>
bool lanes_take_vectors(const std::byte* x, std::int64_t depth) {
  return depth % kLaneValues == 0 &&
         reinterpret_cast<std::uintptr_t>(x) % (sizeof(X) * kLaneValues) == 0;
}

}  // namespace

std::int64_t padded_depth(std::int64_t depth) { return round_up(depth, PackedLayout::kGroupDepth); }

Int8Layout::Int8Layout(std::int64_t rows, std::int64_t depth) {
  const std::int64_t codes = rows * padded_depth(depth);
  scale_offset = static_cast<std::size_t>(round_up(codes, kAlignment));
  bytes = scale_offset + static_cast<std::size_t>(rows) * sizeof(float);
}

void quantize_rows(cudaStream_t queue, DType dtype, const std::byte* x, std::int64_t rows,
                   std::int64_t depth, std::int64_t rotation, std::int8_t* codes, float* scales) {
  const std::size_t shared = static_cast<std::size_t>(round_up(depth, kChunk)) * sizeof(float);
  if (shared > kMostShared) {
    throw Error(ErrorKind::unsupported, "cuda: quantised rows of " + std::to_string(depth) +
                                            " are too long; at most " +
                                            std::to_string(kMostShared / sizeof(float)));
  }
  if (rows == 0) return;
  with_weight(dtype, [&](auto type) {
    using X = decltype(type);
    launch("quantising rows", quantize<X>, static_cast<unsigned int>(rows), kThreads, shared, queue,
           reinterpret_cast<const X*>(x), depth, padded_depth(depth), static_cast<int>(rotation),
           lanes_take_vectors<X>(x, depth), codes, scales);
  });
}

Tensor linear_result(const Stream& stream, const Tensor& x, std::int64_t columns) {
  Shape shape = x.shape();
  shape.back() = columns;
  return stream.empty(x.dtype(), std::move(shape));
}

const float* floats_or_null(const Tensor& tensor) {
  return tensor.empty() ? nullptr : pointer<const float>(tensor);
}

Int8Rows quantized(const Stream& stream, const Tensor& x) {
  const std::int64_t depth = x.dim(-1), rows = x.size() / depth;
  Int8Rows result{stream.empty(DType::i8, {rows, padded_depth(depth)}),
                  stream.empty(DType::f32, {rows})};
  quantize_rows(stream.get(), x.dtype(), x.bytes(), rows, depth, rotation_width(depth),
                pointer<std::int8_t>(result.codes), pointer<float>(result.scales));
  return result;
}

Tensor rotate_rows(const Stream& stream, const Tensor& x, std::int64_t rotation) {
  const std::int64_t depth = x.dim(-1), rows = x.size() / depth;
  Tensor y = stream.empty(x.dtype(), {rows, padded_depth(depth)});
  if (rows == 0) return y;
  with_activation(x.dtype(), [&](auto type) {
    using X = decltype(type);
    launch("rotating rows", rotate<X>, static_cast<unsigned int>(rows), kThreads, 0, stream.get(),
           pointer<const X>(x), depth, padded_depth(depth), static_cast<int>(rotation),
           lanes_take_vectors<X>(x.bytes(), depth), pointer<X>(y));
  });
  return y;
}

namespace {

/// Columns [begin, begin + count) of the product, whose integer sums stay in the L2 cache until
/// they are rescaled.
void product_columns(const Stream& stream, const Products& products, const Int8Rows& x,
                     const Int8Rows& weight, const Tensor& bias, std::int64_t begin,
                     std::int64_t count, const Tensor& y) {
  const std::int64_t rows = x.codes.dim(0);
  const Tensor sums = stream.empty(DType::i32, {rows, count});
  products.multiply(stream, matrix_of(x.codes), matrix_of(weight.codes.slice(begin, count)),
                    matrix_of(sums));
  const float* const offsets = floats_or_null(bias);
  with_activation(y.dtype(), [&](auto type) {
    using Y = decltype(type);
    Y* const target = pointer<Y>(y) + begin;
    const float* const scales = pointer<const float>(weight.scales) + begin;
    const bool vectors = takes_vectors<int>(count, sums.bytes(), scales) && y.dim(-1) % 4 == 0 &&
                         reinterpret_cast<std::uintptr_t>(target) % (4 * sizeof(Y)) == 0;
    const auto run = [&](auto width) {
      constexpr int N = decltype(width)::value;
      launch("rescaling a product", rescale<N, Y>, static_cast<unsigned int>(rows), kThreads, 0,
             stream.get(), pointer<const int>(sums), count, pointer<const float>(x.scales), scales,
             offsets == nullptr ? nullptr : offsets + begin, target, y.dim(-1));
    };
    if (vectors) {
      run(Width<4>());
    } else {
      run(Width<1>());
    }
  });
}

}  // namespace

Tensor linear_int8(const Stream& stream, const Products& products, const Tensor& x,
                   const Int8Rows& weight, const Shape& shape, const Tensor& bias) {
  constexpr std::int64_t kCacheBytes = std::int64_t{32} << 20;  // of 50 MB on H100, 40 on A100
  constexpr std::int64_t kTileColumns = 256;
  Tensor y = linear_result(stream, x, shape[0]);
  if (y.size() == 0) return y;
  stream.begin_call();
  const Int8Rows codes = quantized(stream, x);
  const std::int64_t rows = codes.codes.dim(0), columns = shape[0];
  if (rows == 1) {
    with_activation(x.dtype(), [&](auto type) {
      using Y = decltype(type);
      launch("int8 linear of one row", row_product8<Y>, blocks_for(columns, kWarps), kThreads, 0,
             stream.get(), pointer<const std::int8_t>(codes.codes),
             pointer<const float>(codes.scales), pointer<const std::int8_t>(weight.codes),
             pointer<const float>(weight.scales), floats_or_null(bias), columns,
             weight.codes.dim(1), pointer<Y>(y));
    });
    return y;
  }
  const std::int64_t fitting = kCacheBytes / 4 / rows / kTileColumns * kTileColumns;
  const std::int64_t step = std::max(fitting, kTileColumns);
  for (std::int64_t begin = 0; begin < columns; begin += step) {
    product_columns(stream, products, codes, weight, bias, begin, std::min(step, columns - begin),
                    y);
  }
  return y;
}

}  // namespace ernie_image::cuda
