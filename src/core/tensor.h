// Tensor: a contiguous row-major view of typed memory, with shared ownership of that memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace ernie_image {

/// Extents, slowest first; [] is a scalar.
using Shape = std::vector<std::int64_t>;

/// Whether the address is one of a rehearsal's books (core/ledger.h): nothing is there.
inline bool is_booked(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) >> 60 == 1;
}

/// Product of the extents. Throws Error(invalid_argument) if negative or beyond 2^62.
std::int64_t num_elements(const Shape& shape);

/// "[2, 128, 4]"
std::string to_string(const Shape& shape);

/// A copy is another view of the same memory. The memory lies where the backend that made the
/// tensor keeps it; only host tensors (made by `Tensor::host` or `Backend::download`) may be read
/// through `data` by code above the backends.
class Tensor {
 public:
  Tensor() = default;

  /// `owner` keeps `data` alive; `data` holds num_elements(shape) elements.
  Tensor(DType dtype, Shape shape, std::byte* data, std::shared_ptr<void> owner);

  /// New zeroed host memory, 64-byte aligned; booked during a rehearsal. Throws
  /// Error(out_of_memory).
  static Tensor host(DType dtype, Shape shape);

  /// New host memory holding a copy of `values`; their number must match the shape.
  template <typename T>
  static Tensor copy_of(DType dtype, Shape shape, std::span<const T> values);

  bool empty() const { return data_ == nullptr; }
  /// Of a rehearsal (core/ledger.h): has a shape, and no data to compute with.
  bool is_booked() const { return ernie_image::is_booked(data_); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  /// Extent of `axis`; negative counts from the end.
  std::int64_t dim(int axis) const;
  std::int64_t rank() const { return static_cast<std::int64_t>(shape_.size()); }
  std::int64_t size() const { return size_; }
  std::size_t size_bytes() const { return storage_bytes(dtype_, static_cast<std::size_t>(size_)); }

  std::byte* bytes() const { return data_; }
  template <typename T>
  T* data() const {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  std::span<T> span() const {
    return {data<T>(), static_cast<std::size_t>(size_)};
  }

  /// The same elements under another shape of the same size.
  Tensor reshaped(Shape shape) const;

  /// Entries [begin, begin + count) of the first axis, sharing memory.
  Tensor slice(std::int64_t begin, std::int64_t count) const;

 private:
  DType dtype_ = DType::f32;
  Shape shape_;
  std::int64_t size_ = 0;
  std::byte* data_ = nullptr;
  std::shared_ptr<void> owner_;
};

/// A host tensor's values as float (from f32, f16 or bf16), in a new f32 host tensor; an f32 tensor
/// is returned as it is.
Tensor to_float(const Tensor& host);

/// A host f32 tensor rounded to `dtype` (f32 or bf16).
Tensor round_to(const Tensor& host, DType dtype);

template <typename T>
Tensor Tensor::copy_of(DType dtype, Shape shape, std::span<const T> values) {
  Tensor tensor = host(dtype, std::move(shape));
  if (tensor.is_booked()) return tensor;
  const std::span<T> target = tensor.span<T>();
  for (std::size_t i = 0; i < target.size(); ++i) target[i] = values[i];
  return tensor;
}

}  // namespace ernie_image
