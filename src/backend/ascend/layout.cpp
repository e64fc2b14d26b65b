// Rows joined, cut and transposed.
#include "backend/ascend/operations.h"

namespace ernie_image::ascend {

Tensor concat_rows(Stream& stream, const Tensor& a, const Tensor& b) {
  Tensor y = stream.empty(a.dtype(), {a.dim(0), a.dim(1) + b.dim(1), a.dim(2)});
  if (a.size() > 0) stream.call(cann().InplaceCopy, View(y).sliced(1, 0, a.dim(1)), a);
  if (b.size() > 0) stream.call(cann().InplaceCopy, View(y).sliced(1, a.dim(1), b.dim(1)), b);
  return y;
}

Tensor slice_rows(Stream& stream, const Tensor& x, std::int64_t begin, std::int64_t count) {
  Tensor y = stream.empty(x.dtype(), {x.dim(0), count, x.dim(2)});
  if (y.size() > 0) stream.call(cann().InplaceCopy, y, View(x).sliced(1, begin, count));
  return y;
}

Tensor transpose_rows(Stream& stream, const Tensor& x) {
  Tensor y = stream.empty(x.dtype(), {x.dim(0), x.dim(2), x.dim(1)});
  if (y.size() > 0) stream.call(cann().Permute, x, Integers{{0, 2, 1}}, y);
  return y;
}

}  // namespace ernie_image::ascend
