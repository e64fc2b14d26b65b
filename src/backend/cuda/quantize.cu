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

/// A block for each row. The rotated row waits in shared memory until its largest number is known.
template <typename X>
__global__ void quantize(const X* x, std::int64_t depth, std::int64_t padded, int rotation,
                         bool vectors, std::int8_t* codes, float* scales) {
  float* const rotated = dynamic_shared<float>();  // [padded to whole chunks]
  const std::int64_t row = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float largest = 0, poison = 0;  // poison: 0, or NaN if anything is not finite
  for (std::int64_t begin = threadIdx.x / kWarp * kChunk; begin < padded;
       begin += kWarps * kChunk) {
    float values[kLaneValues];
    const std::int64_t k = begin + lane * kLaneValues;
    load_lane(x + row * depth, k, depth, vectors, values);
    rotate_chunk(values, rotation, lane);
    for (int j = 0; j < kLaneValues; ++j) {
      largest = fmaxf(largest, fabsf(values[j]));
      poison += values[j] * 0.0f;
      rotated[k + j] = values[j];
    }
  }
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

template <typename X>
__global__ void rotate(const X* x, std::int64_t depth, std::int64_t padded, int rotation,
                       bool vectors, X* y) {
  const std::int64_t row = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (std::int64_t begin = threadIdx.x / kWarp * kChunk; begin < padded;
       begin += kWarps * kChunk) {
    float values[kLaneValues];
    const std::int64_t k = begin + lane * kLaneValues;
    load_lane(x + row * depth, k, depth, vectors, values);
    rotate_chunk(values, rotation, lane);
    for (int j = 0; j < kLaneValues && k + j < padded; ++j)
      y[row * padded + k + j] = from_float<X>(values[j]);
  }
}

// ---- packed records --------------------------------------------------------------------------

/// Where things are in a record; see core/packed_weight.h.
struct Records {
  explicit Records(const PackedLayout& layout)
      : depth(layout.depth),
        outputs(layout.outputs),
        record_bytes(static_cast<std::int64_t>(layout.record_bytes())),
        row_scale_offset(static_cast<std::int64_t>(layout.row_scale_offset())),
        block_bytes(static_cast<std::int64_t>(layout.block_bytes(PackedLayout::kBlockDepth))),
        int8(layout.format == WeightFormat::packed_int8) {}

  static constexpr int kPanel = PackedLayout::kPanelOutputs;
  static constexpr int kBlock = PackedLayout::kBlockDepth;

  /// Depth of the block that begins at k.
  __device__ int block_depth(std::int64_t k) const {
    return depth - k < kBlock ? static_cast<int>(depth - k) : kBlock;
  }
  __device__ std::int64_t code_bytes(int block) const {
    return static_cast<std::int64_t>(block) * kPanel / (int8 ? 1 : 2);
  }

  std::int64_t depth, outputs, record_bytes, row_scale_offset, block_bytes;
  bool int8;
};

/// Four consecutive k of one output.
template <typename Y>
__global__ void unpack(const std::int8_t* data, Records records, Y* y) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t steps = records.depth / 4;
  if (i >= records.outputs * steps) return;
  const std::int64_t n = i / steps, k = i % steps * 4;
  const int output = static_cast<int>(n % Records::kPanel);
  const std::int8_t* const record = data + n / Records::kPanel * records.record_bytes;
  const std::int64_t begin = k / Records::kBlock * Records::kBlock;
  const std::int8_t* const block = record + begin / Records::kBlock * records.block_bytes;
  const int step = static_cast<int>(k - begin) / 4;
  const std::int8_t* const scales = block + records.code_bytes(records.block_depth(begin));
  const float scale =
      static_cast<float>(scales[step / 8 * Records::kPanel + output]) *
      *reinterpret_cast<const float*>(record + records.row_scale_offset + output * 4);
  const int position = records.int8 ? step : step / 2;
  const std::int8_t* const codes = block + (position * Records::kPanel + output) * 4;
  for (int j = 0; j < 4; ++j) {
    const int byte = static_cast<std::uint8_t>(codes[j]);
    const int code = records.int8 ? codes[j] : (step % 2 == 0 ? byte & 15 : byte >> 4) - 8;
    y[n * records.depth + k + j] = from_float<Y>(static_cast<float>(code) * scale);
  }
}

// ---- products --------------------------------------------------------------------------------

/// y = sums * scale of the row * scale of the column + bias, a block for each row.
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

/// One row of codes times a record of 16 outputs. A warp reads 128 bytes at a time: the first half
/// of the lanes two steps of 4 k of the 16 outputs, the second half the next two.
template <typename Y>
__global__ void row_product4(const std::int8_t* x, const float* x_scale, const std::int8_t* data,
                             Records records, const float* bias, Y* y) {
  __shared__ float parts[kWarps][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int output = lane % Records::kPanel, half = lane / Records::kPanel;
  const std::int8_t* const record =
      data + static_cast<std::int64_t>(blockIdx.x) * records.record_bytes;
  float sum = 0;
  for (std::int64_t begin = warp * Records::kBlock; begin < records.depth;
       begin += kWarps * Records::kBlock) {
    const std::int8_t* const block = record + begin / Records::kBlock * records.block_bytes;
    const int depth = records.block_depth(begin);
    const std::int8_t* const scales = block + records.code_bytes(depth);
#pragma unroll 4
    for (int pair = half; pair < depth / 8; pair += 2) {
      const int codes = reinterpret_cast<const int*>(block)[pair * Records::kPanel + output];
      const int* const values = reinterpret_cast<const int*>(x + begin + pair * 8);
      int part = __dp4a(codes & 0x0f0f0f0f, values[0], 0);
      part = __dp4a((codes >> 4) & 0x0f0f0f0f, values[1], part);
      const int ones = __dp4a(0x01010101, values[0], __dp4a(0x01010101, values[1], 0));
      part -= 8 * ones;  // codes are stored with 8 added
      sum += static_cast<float>(scales[pair / 4 * Records::kPanel + output] * part);
    }
  }
  parts[warp][lane] = sum;
  __syncthreads();
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * Records::kPanel + threadIdx.x;
  if (threadIdx.x >= Records::kPanel || n >= records.outputs) return;
  float total = 0;
  for (int w = 0; w < kWarps; ++w)
    total += parts[w][threadIdx.x] + parts[w][threadIdx.x + Records::kPanel];
  const float scale =
      reinterpret_cast<const float*>(record + records.row_scale_offset)[threadIdx.x];
  const float value = total * (x_scale[0] * scale);
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

void unpack_rows(cudaStream_t queue, const PackedLayout& layout, const std::byte* records,
                 DType dtype, std::byte* target) {
  const std::int64_t steps = layout.outputs * layout.depth / 4;
  if (steps == 0) return;
  with_activation(dtype, [&](auto type) {
    using Y = decltype(type);
    launch("unpacking weights", unpack<Y>, blocks_for(steps, kThreads), kThreads, 0, queue,
           reinterpret_cast<const std::int8_t*>(records), Records(layout),
           reinterpret_cast<Y*>(target));
  });
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

Tensor result_of(const Stream& stream, const Tensor& x, std::int64_t columns) {
  Shape shape = x.shape();
  shape.back() = columns;
  return stream.empty(x.dtype(), std::move(shape));
}

}  // namespace

Tensor linear_int8(const Stream& stream, const Products& products, const Tensor& x,
                   const Int8Rows& weight, const Shape& shape, const Tensor& bias) {
  constexpr std::int64_t kCacheBytes = std::int64_t{32} << 20;  // of 50 MB on H100, 40 on A100
  constexpr std::int64_t kTileColumns = 256;
  Tensor y = result_of(stream, x, shape[0]);
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

Tensor linear_int4(const Stream& stream, const Products& products, const Tensor& x,
                   const std::byte* records, const Shape& shape, const Tensor& bias) {
  const PackedLayout layout(WeightFormat::packed_int4, shape);
  Tensor y = result_of(stream, x, shape[0]);
  if (y.size() == 0) return y;
  stream.begin_call();
  if (y.size() == shape[0]) {
    const Int8Rows codes = quantized(stream, x);
    with_activation(x.dtype(), [&](auto type) {
      using Y = decltype(type);
      launch("int4 linear of one row", row_product4<Y>, static_cast<unsigned int>(layout.panels),
             kThreads, 0, stream.get(), pointer<const std::int8_t>(codes.codes),
             pointer<const float>(codes.scales), reinterpret_cast<const std::int8_t*>(records),
             Records(layout), floats_or_null(bias), pointer<Y>(y));
    });
    return y;
  }
  const Tensor rows = stream.empty(x.dtype(), {layout.outputs, layout.depth});
  unpack_rows(stream.get(), layout, records, x.dtype(), rows.bytes());
  const Tensor rotated = rotate_rows(stream, x, layout.rotation);
  if (bias.empty()) {
    products.multiply(stream, matrix_of(rotated), matrix_of(rows), matrix_of(y));
    return y;
  }
  const Tensor sums = stream.empty(DType::f32, y.shape());
  products.multiply(stream, matrix_of(rotated), matrix_of(rows), matrix_of(sums));
  return add_bias(stream, sums, bias, x.dtype());
}

}  // namespace ernie_image::cuda
