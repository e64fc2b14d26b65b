// Element-wise operations. aclnn widens a bf16 operand beside an f32 one, computes in float and
// rounds into the result once, so each call here is one rounding of backend.h. But it does so with
// kernels of its own for each conversion, and for each strided tensor: what runs in every layer
// gives it dense tensors of one type.
#include "backend/ascend/operations.h"

namespace ernie_image::ascend {

Tensor add(Stream& stream, const Tensor& a, const Tensor& b) {
  Tensor y = stream.empty(a.dtype(), a.shape());
  if (y.size() > 0) stream.call(cann().Add, a, b, Scalar{1}, y);
  return y;
}

Tensor multiply(Stream& stream, const Tensor& a, const Tensor& b) {
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

namespace {

/// Of GeluV2; aclnnGelu has the second one only.
enum class GeluApproximation : std::int64_t { none = 0, tanh = 1 };

Tensor gelu_of(Stream& stream, const Tensor& x, GeluApproximation approximation) {
  Tensor y = stream.empty(x.dtype(), x.shape());
  if (y.size() > 0) stream.call(cann().GeluV2, x, static_cast<std::int64_t>(approximation), y);
  return y;
}

}  // namespace

Tensor gelu(Stream& stream, const Tensor& x) { return gelu_of(stream, x, GeluApproximation::none); }

Tensor gelu_tanh(Stream& stream, const Tensor& x) {
  return gelu_of(stream, x, GeluApproximation::tanh);
}

Tensor gelu_tanh_mul(Stream& stream, const Tensor& gate, const Tensor& up) {
  return multiply(stream, gelu_tanh(stream, gate), up);
}

Tensor gelu_mul(Stream& stream, const Tensor& gate, const Tensor& up) {
  return multiply(stream, gelu(stream, gate), up);
}

namespace {

using Use = DerivedTensors::Use;

/// All vectors of a modulation [B, n width], one after another: [n, B, width].
Tensor all_chunks(Stream& stream, const Tensor& table, std::int64_t width) {
  const std::int64_t batch = table.dim(0), count = table.dim(1) / width;
  const Shape shape = {count, batch, width};
  if (batch == 1) return table.reshaped(shape);
  return stream.derived().of(Use::chunks, table, table.dtype(), shape, [&] {
    Tensor chunks = stream.empty(table.dtype(), shape);
    stream.call(cann().Permute, table.reshaped({batch, count, width}), Integers{{1, 0, 2}}, chunks);
    return chunks;
  });
}

Tensor all_wide_chunks(Stream& stream, const Tensor& table, std::int64_t width) {
  const Shape shape = {table.dim(1) / width, table.dim(0), width};
  return stream.derived().of(Use::wide_chunks, table, DType::f32, shape, [&] {
    return cast(stream, all_chunks(stream, table, width), DType::f32);
  });
}

Tensor rows_of(const Tensor& chunks, std::int64_t index) {
  return chunks.slice(index, 1).reshaped({chunks.dim(1), 1, chunks.dim(2)});
}

}  // namespace

Tensor chunk_rows(Stream& stream, Chunk chunk, std::int64_t width) {
  return rows_of(all_chunks(stream, chunk.table, width), chunk.index);
}

Tensor wide_chunk_rows(Stream& stream, Chunk chunk, std::int64_t width) {
  return rows_of(all_wide_chunks(stream, chunk.table, width), chunk.index);
}

Tensor chunk_factors(Stream& stream, Chunk chunk, std::int64_t width) {
  const Tensor wide = all_wide_chunks(stream, chunk.table, width);
  const Tensor factors =
      stream.derived().of(Use::chunk_factors, chunk.table, DType::f32, wide.shape(), [&] {
        Tensor sums = stream.empty(DType::f32, wide.shape());
        stream.call(cann().Adds, wide, Scalar{1}, Scalar{1}, sums);
        return sums;
      });
  return rows_of(factors, chunk.index);
}

Tensor gated_add(Stream& stream, const Tensor& x, Chunk gate, const Tensor& y) {
  if (x.size() == 0) return x;
  return add(stream, x, multiply(stream, y, chunk_rows(stream, gate, x.dim(2))));
}

Tensor cast(Stream& stream, const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = stream.empty(dtype, x.shape());
  if (y.size() > 0) stream.call(cann().Cast, x, acl_dtype(dtype), y);
  return y;
}

}  // namespace ernie_image::ascend
