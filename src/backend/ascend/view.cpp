#include "backend/ascend/view.h"

#include <cassert>
#include <utility>

#include "ernie_image/error.h"

namespace ernie_image::ascend {
namespace {

constexpr std::uintptr_t kAlignment = 32;

Shape dense_strides(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

std::size_t index_of(int axis) { return static_cast<std::size_t>(axis); }

}  // namespace

View::View(const Tensor& tensor)
    : dtype(tensor.dtype()), shape(tensor.shape()), strides(dense_strides(tensor.shape())) {
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.bytes());
  const std::uintptr_t beyond = address % kAlignment;
  block = tensor.bytes() - beyond;
  assert(beyond % size_of(dtype) == 0);
  offset = static_cast<std::int64_t>(beyond / size_of(dtype));
  storage = offset + tensor.size();
}

aclFormat format_of_rank(std::size_t rank) {
  switch (rank) {
    case 3:
      return ACL_FORMAT_NCL;
    case 4:
      return ACL_FORMAT_NCHW;
    case 5:
      return ACL_FORMAT_NCDHW;
    default:
      return ACL_FORMAT_ND;
  }
}

View View::reshaped(Shape new_shape) const {
  assert(strides == dense_strides(shape) && num_elements(new_shape) == num_elements(shape));
  View view = *this;
  view.strides = dense_strides(new_shape);
  view.shape = std::move(new_shape);
  return view;
}

View View::sliced(int axis, std::int64_t begin, std::int64_t count) const {
  assert(begin >= 0 && begin + count <= shape[index_of(axis)]);
  View view = *this;
  view.offset += begin * strides[index_of(axis)];
  view.shape[index_of(axis)] = count;
  return view;
}

View View::with_axes_swapped(int a, int b) const {
  View view = *this;
  std::swap(view.shape[index_of(a)], view.shape[index_of(b)]);
  std::swap(view.strides[index_of(a)], view.strides[index_of(b)]);
  return view;
}

View View::window(Shape new_shape, Shape new_strides, std::int64_t new_offset) const {
  View view = *this;
  view.shape = std::move(new_shape);
  view.strides = std::move(new_strides);
  view.offset += new_offset;
  return view;
}

View View::as(aclFormat new_format) const {
  View view = *this;
  view.format = new_format;
  return view;
}

aclDataType acl_dtype(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return ACL_FLOAT;
    case DType::bf16:
      return ACL_BF16;
    case DType::f16:
      return ACL_FLOAT16;
    case DType::i8:
      return ACL_INT8;
    case DType::boolean:
      return ACL_BOOL;
    default:
      throw Error(ErrorKind::unsupported,
                  "ascend: tensors of " + std::string(dtype_name(dtype)) + " are not supported");
  }
}

std::string to_string(const View& view) {
  if (view.empty()) return "none";
  return std::string(dtype_name(view.dtype)) + " " + ernie_image::to_string(view.shape);
}

}  // namespace ernie_image::ascend
