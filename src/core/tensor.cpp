#include "core/tensor.h"

#include <sys/mman.h>

#include <cassert>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/half.h"
#include "core/ledger.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::size_t kTensorAlignment = 64;  // one cache line, one AVX-512 register

/// From here on a tensor is a mapping of its own, which leaves the process when it is freed: the C
/// library would keep some of them.
constexpr std::size_t kMappedBytes = std::size_t{1} << 20;

void* zeroed_block(std::size_t bytes) {
  void* const memory = std::aligned_alloc(kTensorAlignment, bytes);
  if (memory != nullptr) std::memset(memory, 0, bytes);
  return memory;
}

void* map_zeroed(std::size_t bytes) {
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

std::int64_t num_elements(const Shape& shape) {
  constexpr std::int64_t kLimit = std::int64_t{1} << 62;
  std::int64_t count = 1;
  bool overflow = false;
  bool zero = false;
  for (const std::int64_t extent : shape) {
    if (extent < 0)
      throw Error(ErrorKind::invalid_argument, "negative extent in shape " + to_string(shape));
    zero = zero || extent == 0;
    overflow = overflow || __builtin_mul_overflow(count, extent, &count) || count > kLimit;
  }
  if (zero) return 0;
  if (overflow)
    throw Error(ErrorKind::invalid_argument,
                "shape " + to_string(shape) + " has too many elements");
  return count;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i != 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

Tensor::Tensor(DType dtype, Shape shape, std::byte* data, std::shared_ptr<void> owner)
    : dtype_(dtype),
      shape_(std::move(shape)),
      size_(num_elements(shape_)),
      data_(data),
      owner_(std::move(owner)) {}

Tensor Tensor::host(DType dtype, Shape shape) {
  const std::size_t bytes = static_cast<std::size_t>(num_elements(shape)) * size_of(dtype);
  const std::size_t rounded = (bytes / kTensorAlignment + 1) * kTensorAlignment;
  if (Ledger* const ledger = HostRehearsal::current()) {
    const std::shared_ptr<std::byte> block = ledger->take(rounded);
    return Tensor(dtype, std::move(shape), block.get(), block);
  }
  void* const memory = rounded < kMappedBytes ? zeroed_block(rounded) : map_zeroed(rounded);
  if (memory == nullptr) {
    throw Error(ErrorKind::out_of_memory, "cannot allocate " + std::to_string(bytes) +
                                              " bytes for a tensor " + to_string(shape));
  }
  std::shared_ptr<void> owner(memory, [rounded](void* p) {
    if (rounded < kMappedBytes) {
      std::free(p);
    } else {
      munmap(p, rounded);
    }
  });
  return Tensor(dtype, std::move(shape), static_cast<std::byte*>(memory), std::move(owner));
}

std::int64_t Tensor::dim(int axis) const {
  const std::size_t index =
      axis >= 0 ? static_cast<std::size_t>(axis) : shape_.size() - static_cast<std::size_t>(-axis);
  assert(index < shape_.size());
  return shape_[index];
}

Tensor Tensor::reshaped(Shape shape) const {
  assert(num_elements(shape) == size_);
  Tensor view = *this;
  view.shape_ = std::move(shape);
  return view;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t count) const {
  assert(!shape_.empty() && begin >= 0 && count >= 0 && begin + count <= shape_[0]);
  const std::int64_t row = shape_[0] == 0 ? 0 : size_ / shape_[0];
  Tensor view = *this;
  view.shape_[0] = count;
  view.size_ = row * count;
  view.data_ = data_ + static_cast<std::size_t>(begin * row) * size_of(dtype_);
  return view;
}

Tensor to_float(const Tensor& host) {
  if (host.dtype() == DType::f32) return host;
  assert(host.dtype() == DType::bf16 || host.dtype() == DType::f16);
  Tensor result = Tensor::host(DType::f32, host.shape());
  if (result.is_booked()) return result;
  const std::uint16_t* source = host.data<std::uint16_t>();
  float* target = result.data<float>();
  const auto convert = host.dtype() == DType::bf16 ? bf16_to_float : f16_to_float;
  for (std::int64_t i = 0; i < host.size(); ++i) target[i] = convert(source[i]);
  return result;
}

Tensor round_to(const Tensor& host, DType dtype) {
  assert(host.dtype() == DType::f32);
  if (dtype == DType::f32) return host;
  assert(dtype == DType::bf16);
  Tensor result = Tensor::host(DType::bf16, host.shape());
  if (result.is_booked()) return result;
  const float* source = host.data<float>();
  std::uint16_t* target = result.data<std::uint16_t>();
  for (std::int64_t i = 0; i < host.size(); ++i) target[i] = float_to_bf16(source[i]);
  return result;
}

}  // namespace ernie_image
