#include "backend/ascend/int8_linear.h"

#include <bit>

#include "backend/ascend/operations.h"
#include "core/packed_weight.h"
#include "ernie_image/error.h"

namespace ernie_image::ascend {
namespace {

/// Of either side, if it is not transposed; with weights as they are in the file that is K.
constexpr std::int64_t kMostDepth = 65535;

/// What the product takes beside: integers of two tiles of 128 x 256 on each side of a pipeline for
/// 24 cores at most, on top of what every operation reserves.
constexpr std::size_t kWorkspaceBytes =
    (std::size_t{16} << 20) + std::size_t{24} * 4 * 128 * 256 * 4;

/// bf16 [M, N], each row times its scale and each column times its own. The weight is [N, K], as
/// torch_npu passes a transposed one.
Tensor product(Stream& stream, const Int8Rows& x, const Int8Rows& w) {
  const Cann& api = cann();
  const View none;
  const bool as_it_is = false, transposed = true;
  Tensor y = stream.empty(DType::bf16, {x.codes.dim(0), w.codes.dim(0)});
  stream.expect_workspace(kWorkspaceBytes);
  const std::int64_t no_groups = 0;
  if (w.in_blocks > 0) {
    View blocks = w.codes;
    blocks.storage = blocks.offset + w.in_blocks;  // by which the operation knows them
    stream.call(api.QuantMatmulWeightNz, x.codes, blocks, x.scales, w.scales, none, none, none,
                none, none, as_it_is, transposed, no_groups, y);
    return y;
  }
  if (api.QuantMatmulV5) {
    stream.call(api.QuantMatmulV5, x.codes, w.codes, x.scales, w.scales, none, none, none, none,
                none, as_it_is, transposed, no_groups, y);
    return y;
  }
  if (api.QuantMatmulV4) {
    stream.call(api.QuantMatmulV4, x.codes, w.codes, w.scales, none, x.scales, none, as_it_is,
                transposed, y);
    return y;
  }
  // This one knows no scales of rows: they follow, and with them a second rounding.
  stream.call(api.QuantMatmulV3, x.codes, w.codes, w.scales, none, none, as_it_is, transposed, y);
  const Tensor wide = cast(stream, y, DType::f32);
  return cast(stream, multiply(stream, wide, x.scales.reshaped({x.codes.dim(0), 1})), DType::bf16);
}

/// [width, width] of 1 and -1, which is exact in every type.
Tensor hadamard(Stream& stream, std::int64_t width, DType dtype) {
  return stream.derived().of(DerivedTensors::Use::hadamard, {}, dtype, {width, width}, [&] {
    Tensor matrix = Tensor::host(DType::f32, {width, width});
    for (std::int64_t i = 0; i < matrix.size() && !matrix.is_booked(); ++i) {
      const auto both = static_cast<std::uint64_t>(i / width & i % width);
      matrix.data<float>()[i] = std::popcount(both) % 2 == 0 ? 1.0f : -1.0f;
    }
    return stream.upload(round_to(matrix, dtype));
  });
}

/// x [.., K] rotated, not normed.
Tensor rotated(Stream& stream, const Tensor& x) {
  const std::int64_t width = rotation_width(x.dim(-1));
  if (width == 1) return x;
  const Shape parts = {x.size() / width, width};
  Tensor y = stream.empty(x.dtype(), x.shape());
  stream.call(cann().Mm, x.reshaped(parts), hadamard(stream, width, x.dtype()), y.reshaped(parts),
              kKeepDType);
  return y;
}

}  // namespace

void require_int8(const std::string& weight, const Shape& shape, bool in_blocks) {
  const Cann& api = cann();
  if (in_blocks && (!api.DynamicQuant || !api.QuantMatmulWeightNz)) {
    throw Error(ErrorKind::unsupported,
                "ascend: this CANN lacks aclnnDynamicQuant or aclnnQuantMatmulWeightNz, which "
                "--ascend-int8 nz needs; leave it out");
  }
  if (!in_blocks &&
      (!api.DynamicQuant || (!api.QuantMatmulV5 && !api.QuantMatmulV4 && !api.QuantMatmulV3))) {
    throw Error(ErrorKind::unsupported,
                "ascend: this CANN lacks aclnnDynamicQuant or every aclnnQuantMatmul of V5, V4 and "
                "V3, which quantised weights need: `ernie-image devices` lists what is there; take "
                "a newer CANN, or the model in the released format, without --quant");
  }
  if (shape[1] > kMostDepth) {
    throw Error(ErrorKind::unsupported,
                "ascend: weight " + weight + " " + ernie_image::to_string(shape) +
                    " is quantised; expected at most " + std::to_string(kMostDepth) + " inputs");
  }
}

Int8Rows quantized(Stream& stream, const Tensor& x) {
  const std::int64_t depth = x.dim(-1), rows = x.size() / depth;
  const Tensor narrow = cast(stream, rotated(stream, x.reshaped({rows, depth})), DType::bf16);
  const Int8Rows result = {stream.empty(DType::i8, {rows, depth}),
                           stream.empty(DType::f32, {rows})};
  stream.call(cann().DynamicQuant, narrow, View(), result.codes, result.scales);
  return result;
}

Tensor linear_int8(Stream& stream, const Int8Rows& x, const Shape& shape, DType dtype,
                   const Int8Rows& weight, const Tensor& bias) {
  Shape result = shape;
  result.back() = weight.codes.dim(0);
  Tensor y = product(stream, x, weight);
  if (!bias.empty()) y = add(stream, cast(stream, y, DType::f32), bias);
  return cast(stream, y, dtype).reshaped(result);
}

}  // namespace ernie_image::ascend
