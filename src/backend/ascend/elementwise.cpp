// Element-wise operations. aclnn widens a bf16 operand beside an f32 one, computes in float and
// rounds into the result once, so each call here is one rounding of backend.h.
#include "backend/ascend/operations.h"

namespace ernie_image::ascend {

Tensor add(Stream& stream, const Tensor& a, const Tensor& b) {
  Tensor y = stream.empty(a.dtype(), a.shape());
  if (y.size() > 0) stream.call(cann().Add, a, b, Scalar{1}, y);
  return y;
}

Tensor multiply(Stream& stream, const Tensor& a, const View& b) {
  Tensor y = stream.empty(a.dtype(), a.shape());
  if (y.size() > 0) stream.call(cann().Mul, a, b, y);
  return y;
}

Tensor silu(Stream& stream, const Tensor& x) {
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() > 0) stream.call(cann().Silu, x, y);
  return y;
}

Tensor silu_mul(Stream& stream, const Tensor& gate, const Tensor& up) {
  return multiply(stream, silu(stream, gate), up);
}

/// aclnnGelu would be the tanh form.
Tensor gelu(Stream& stream, const Tensor& x) {
  constexpr std::int64_t kErf = 0;
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() > 0) stream.call(cann().GeluV2, x, kErf, y);
  return y;
}

Tensor gelu_mul(Stream& stream, const Tensor& gate, const Tensor& up) {
  return multiply(stream, gelu(stream, gate), up);
}

View chunk_view(Chunk chunk, std::int64_t width) {
  const View table(chunk.table);
  return table.window({table.shape[0], 1, width}, {table.strides[0], width, 1},
                      chunk.index * width);
}

Tensor gated_add(Stream& stream, const Tensor& x, Chunk gate, const Tensor& y) {
  return add(stream, x, multiply(stream, y, chunk_view(gate, x.dim(2))));
}

Tensor cast(Stream& stream, const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = stream.empty(dtype, x.shape());
  if (y.size() > 0) stream.call(cann().Cast, x, acl_dtype(dtype), y);
  return y;
}

}  // namespace ernie_image::ascend
