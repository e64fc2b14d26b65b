// Packed records of core/packed_weight.h on the card: spread out to rows, and multiplied by one row
// as they lie.
#include "backend/cuda/kernel.h"
#include "backend/cuda/operations.h"
#include "backend/cuda/quantize.h"

namespace ernie_image::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

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
/// Bound: bytes, half or one read and a Y written each weight. Expected: 70 % of the memory's rate.
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

/// One row of codes times a record of 16 outputs. A warp reads 128 bytes at a time: the first half
/// of the lanes two steps of 4 k of the 16 outputs, the second half the next two.
/// Bound: bytes, the records once, 0.55 a weight. Expected: 70 % of the memory's rate.
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

}  // namespace

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

Tensor linear_int4(const Stream& stream, const Products& products, const Tensor& x,
                   const std::byte* records, const Shape& shape, const Tensor& bias) {
  const PackedLayout layout(WeightFormat::packed_int4, shape);
  Tensor y = linear_result(stream, x, shape[0]);
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
