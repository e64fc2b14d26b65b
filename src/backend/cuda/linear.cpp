#include "backend/cuda/linear.h"

#include <utility>

#include "backend/cuda/operations.h"

namespace ernie_image::cuda {

Tensor linear(const Stream& stream, const Products& products, const Tensor& x, const Tensor& w,
              const Tensor& bias) {
  Shape shape = x.shape();
  shape.back() = w.dim(0);
  if (num_elements(shape) == 0) return stream.empty(x.dtype(), std::move(shape));
  stream.begin_call();
  if (x.size() == x.dim(-1)) {
    Tensor y = stream.empty(x.dtype(), std::move(shape));
    multiply_row(stream, x, w, bias, y);
    return y;
  }
  const DType factors =
      x.dtype() == DType::bf16 && w.dtype() == DType::bf16 ? DType::bf16 : DType::f32;
  // Rounding is the last step: what is still to be added or rounded differently stays float.
  const DType sums = bias.empty() && factors == x.dtype() ? x.dtype() : DType::f32;
  Tensor y = stream.empty(sums, std::move(shape));
  const Tensor left = cast(stream, x, factors), right = cast(stream, w, factors);
  products.multiply(stream, matrix_of(left), matrix_of(right), matrix_of(y));
  return bias.empty() ? cast(stream, y, x.dtype()) : add_bias(stream, y, bias, x.dtype());
}

}  // namespace ernie_image::cuda
