// What moves numbers and computes none: rows joined, cut and transposed, channels first and last,
// pixels repeated.
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

void copy(Stream& stream, const Tensor& from, const Tensor& to) {
  const Shape flat = {from.size()};
  if (from.size() > 0) stream.call(cann().InplaceCopy, to.reshaped(flat), from.reshaped(flat));
}

Tensor transpose_rows(Stream& stream, const Tensor& x) {
  Tensor y = stream.empty(x.dtype(), {x.dim(0), x.dim(2), x.dim(1)});
  if (y.size() > 0) stream.call(cann().Permute, x, Integers{{0, 2, 1}}, y);
  return y;
}

Tensor swap_rows(Stream& stream, const Tensor& x) {
  if (x.dim(0) == 1 || x.dim(1) == 1) return x.reshaped({x.dim(1), x.dim(0), x.dim(2)});
  Tensor y = stream.empty(x.dtype(), {x.dim(1), x.dim(0), x.dim(2)});
  if (y.size() > 0) stream.call(cann().Permute, x, Integers{{1, 0, 2}}, y);
  return y;
}

Tensor channels_first(Stream& stream, const Tensor& x) {
  return transpose_rows(stream, x.reshaped({x.dim(0), x.dim(1) * x.dim(2), x.dim(3)}))
      .reshaped({x.dim(0), x.dim(3), x.dim(1), x.dim(2)});
}

Tensor channels_last(Stream& stream, const Tensor& x) {
  return transpose_rows(stream, x.reshaped({x.dim(0), x.dim(1), x.dim(2) * x.dim(3)}))
      .reshaped({x.dim(0), x.dim(2), x.dim(3), x.dim(1)});
}

Tensor upsample_nearest2x(Stream& stream, const Tensor& x) {
  const std::int64_t height = x.dim(1), width = x.dim(2);
  Tensor y = stream.empty(x.dtype(), {x.dim(0), 2 * height, 2 * width, x.dim(3)});
  if (cann().UpsampleNearest2d) {  // with the channels first, as everybody calls it
    const Tensor planes = stream.empty(x.dtype(), {x.dim(0), x.dim(3), 2 * height, 2 * width});
    stream.call(cann().UpsampleNearest2d, channels_first(stream, x),
                Integers{{2 * height, 2 * width}}, planes);
    return channels_last(stream, planes);
  }
  const View doubled = View(y).reshaped({x.dim(0) * height, 2, width, 2, x.dim(3)});
  stream.call(cann().InplaceCopy, doubled,
              View(x).reshaped({x.dim(0) * height, 1, width, 1, x.dim(3)}));
  return y;
}

}  // namespace ernie_image::ascend
