// A strided view of device memory, as aclnn describes tensors: shapes and strides in elements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "backend/ascend/acl_types.h"
#include "core/tensor.h"

namespace ernie_image::ascend {

struct View {
  View() = default;  ///< none: the null pointer of an optional parameter
  /// All of a dense tensor. Its memory may begin at any element of a block (see Tensor::slice).
  View(const Tensor& tensor);  // NOLINT: tensors are views

  /// The same memory under another shape; of a dense view only.
  View reshaped(Shape new_shape) const;
  /// Entries [begin, begin + count) of `axis`.
  View sliced(int axis, std::int64_t begin, std::int64_t count) const;
  View with_axes_swapped(int a, int b) const;
  /// Any other window: `new_offset` counts from this view's first element.
  View window(Shape new_shape, Shape new_strides, std::int64_t new_offset) const;
  View as(aclFormat new_format) const;

  bool empty() const { return block == nullptr; }

  DType dtype = DType::f32;
  Shape shape;
  Shape strides;
  std::int64_t offset = 0;     ///< of the first element from `block`
  std::byte* block = nullptr;  ///< aligned to 32 bytes, as aclnn wants it
  /// Elements from `block` to the end of the tensor that this is a view of: what is not its whole
  /// is recognised as a slice by the length of the whole.
  std::int64_t storage = 0;
  /// As torch_npu names it: by the rank, if nothing else is said.
  std::optional<aclFormat> format;
};

/// NCL for three axes, NCHW for four, NCDHW for five, else ND.
aclFormat format_of_rank(std::size_t rank);

aclDataType acl_dtype(DType dtype);

/// "bf16 [2, 4096, 32, 128]"
std::string to_string(const View& view);

}  // namespace ernie_image::ascend
