#include "eval/tensor_difference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/half.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

template <typename T>
double element(const Tensor& tensor, std::int64_t index) {
  return static_cast<double>(tensor.data<T>()[index]);
}

double value_at(const Tensor& tensor, std::int64_t index) {
  switch (tensor.dtype()) {
    case DType::f32:
      return element<float>(tensor, index);
    case DType::bf16:
      return bf16_to_float(tensor.data<std::uint16_t>()[index]);
    case DType::f16:
      return f16_to_float(tensor.data<std::uint16_t>()[index]);
    case DType::f64:
      return element<double>(tensor, index);
    case DType::i64:
      return element<std::int64_t>(tensor, index);
    case DType::i32:
      return element<std::int32_t>(tensor, index);
    case DType::u8:
    case DType::boolean:
      return element<std::uint8_t>(tensor, index);
    default:
      throw Error(
          ErrorKind::unsupported,
          "tensors of type " + std::string(dtype_name(tensor.dtype())) + " cannot be compared");
  }
}

/// Sums over all elements where both are finite.
struct Sums {
  double difference_squared = 0, a_squared = 0, b_squared = 0, product = 0;
  bool one_sided = false;  ///< finite in one only
};

void add_element(double a, double b, std::int64_t index, Sums& sums, TensorDifference& result) {
  if (!std::isfinite(a) && result.first_non_finite_a < 0) result.first_non_finite_a = index;
  if (!std::isfinite(b) && result.first_non_finite_b < 0) result.first_non_finite_b = index;
  if (!std::isfinite(a) || !std::isfinite(b)) {
    sums.one_sided = sums.one_sided || std::isfinite(a) != std::isfinite(b);
    return;
  }
  const double difference = a - b;
  result.max_absolute = std::max(result.max_absolute, std::abs(difference));
  sums.difference_squared += difference * difference;
  sums.a_squared += a * a;
  sums.b_squared += b * b;
  sums.product += a * b;
}

}  // namespace

std::optional<TensorDifference> compare_tensors(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) return std::nullopt;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  TensorDifference result;
  Sums sums;
  for (std::int64_t i = 0; i < a.size(); ++i) {
    add_element(value_at(a, i), value_at(b, i), i, sums, result);
  }
  if (sums.one_sided) result.max_absolute = kInfinity;
  if (sums.difference_squared > 0) {
    result.nmse = sums.b_squared > 0 ? sums.difference_squared / sums.b_squared : kInfinity;
  }
  if (sums.one_sided) result.nmse = kInfinity;
  result.relative_error = std::sqrt(result.nmse);
  if (sums.a_squared > 0 && sums.b_squared > 0) {
    result.cosine = sums.product / std::sqrt(sums.a_squared * sums.b_squared);
  }
  return result;
}

}  // namespace ernie_image
