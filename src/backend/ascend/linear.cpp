// Linear layers: the weight of the checkpoint, [N, K], described as its transpose.
#include "backend/ascend/operations.h"

namespace ernie_image::ascend {
namespace {

/// x [M, K] times w [N, K]^T, of one dtype.
Tensor product(Stream& stream, const Tensor& x, const Tensor& w) {
  Tensor y = stream.empty(x.dtype(), {x.dim(0), w.dim(0)});
  stream.call(cann().Mm, x, View(w).with_axes_swapped(0, 1), y, kKeepDType);
  return y;
}

}  // namespace

/// Mm takes no mixture of types, and a bias added to a rounded product would be a second rounding.
/// So with a weight of another type than x, or with a bias, the layer is computed in fp32 and
/// rounded at the end. In a bf16 run of a bf16 checkpoint that concerns only the layers with a
/// bias: all small.
Tensor linear(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Shape shape = x.shape();
  shape.back() = weight.dim(0);
  if (x.size() == 0) return stream.empty(x.dtype(), shape);
  const Tensor rows = x.reshaped({x.size() / weight.dim(1), weight.dim(1)});
  if (bias.empty() && weight.dtype() == x.dtype())
    return product(stream, rows, weight).reshaped(shape);
  Tensor y = product(stream, cast(stream, rows, DType::f32), cast(stream, weight, DType::f32));
  if (!bias.empty()) y = add(stream, y, bias);
  return cast(stream, y, x.dtype()).reshaped(shape);
}

}  // namespace ernie_image::ascend
