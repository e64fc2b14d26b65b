// Values of tensors in the memory of a card.
#include <cstdlib>
#include <cstring>

#include "core/half.h"
#include "objects.h"

namespace standin {
namespace {

/// Calls `visit(address)` for each element in order.
template <typename Visit>
void for_each_element(const aclTensor& tensor, std::byte* base, const Visit& visit) {
  const std::size_t rank = tensor.dims.size();
  const auto size = static_cast<std::int64_t>(element_bytes(tensor.dtype));
  const std::int64_t inner = rank == 0 ? 1 : tensor.dims.back();
  const std::int64_t step = rank == 0 ? 0 : tensor.strides.back() * size;
  std::vector<std::int64_t> index(rank, 0);
  const std::int64_t count = element_count(tensor);
  for (std::int64_t done = 0; done < count; done += inner) {
    std::int64_t offset = tensor.offset;
    for (std::size_t i = 0; i + 1 < rank; ++i) offset += index[i] * tensor.strides[i];
    std::byte* element = base + offset * size;
    for (std::int64_t i = 0; i < inner; ++i, element += step) visit(element);
    for (std::size_t i = rank < 2 ? 0 : rank - 1; i-- > 0;) {
      if (++index[i] < tensor.dims[i]) break;
      index[i] = 0;
    }
  }
}

float load(const std::byte* element, aclDataType dtype) {
  std::uint16_t half = 0;
  float value = 0;
  switch (dtype) {
    case ACL_FLOAT:
      std::memcpy(&value, element, sizeof(value));
      return value;
    case ACL_BF16:
      std::memcpy(&half, element, sizeof(half));
      return ernie_image::bf16_to_float(half);
    case ACL_FLOAT16:
      std::memcpy(&half, element, sizeof(half));
      return ernie_image::f16_to_float(half);
    case ACL_INT8:
      return static_cast<float>(*reinterpret_cast<const std::int8_t*>(element));
    default:
      return static_cast<float>(*reinterpret_cast<const std::uint8_t*>(element));
  }
}

void store(std::byte* element, aclDataType dtype, float value) {
  if (dtype == ACL_FLOAT) {
    std::memcpy(element, &value, sizeof(value));
  } else if (dtype == ACL_BF16) {
    const std::uint16_t half = ernie_image::float_to_bf16(value);
    std::memcpy(element, &half, sizeof(half));
  } else if (dtype == ACL_INT8) {
    *element = static_cast<std::byte>(static_cast<std::int8_t>(value));
  } else {
    std::abort();  // every operation has refused it
  }
}

/// One value in 32 a step of bf16 up or down, by place and value, so that it is always the same.
/// Sums in another order change the rounding of as many; that adds 3/8 to the variance of a
/// rounding, and the goldens allow twice the reference's own error.
float nudged(float value, std::size_t index) {
  const std::uint16_t half = ernie_image::float_to_bf16(value);
  const bool ordinary = (half & 0x7f80) != 0 && (half & 0x7f80) != 0x7f80;
  const std::size_t lot = (index * 2654435761u + half * 40503u) >> 7;
  if (!ordinary || lot % 32 != 0) return value;
  const int step = lot % 64 == 0 ? 1 : -1;
  return ernie_image::bf16_to_float(static_cast<std::uint16_t>(half + step));
}

}  // namespace

bool is_perturbed() {
  static const bool kPerturbed = std::getenv("ASCEND_STANDIN_PERTURB") != nullptr;
  return kPerturbed;
}

std::vector<float> read(const aclTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(element_count(tensor)));
  if (values.empty()) return values;
  std::byte* const base = real_address(tensor.data);
  const aclDataType dtype = tensor.dtype;
  float* out = values.data();
  for_each_element(tensor, base, [&](const std::byte* element) { *out++ = load(element, dtype); });
  return values;
}

void write(const aclTensor& tensor, std::vector<float> values, Rounding rounding) {
  if (values.empty()) return;
  if (rounding == Rounding::device && is_perturbed() && tensor.dtype == ACL_BF16) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = nudged(values[i], i);
  }
  const float* in = values.data();
  const aclDataType dtype = tensor.dtype;
  for_each_element(tensor, real_address(tensor.data),
                   [&](std::byte* element) { store(element, dtype, *in++); });
}

}  // namespace standin
