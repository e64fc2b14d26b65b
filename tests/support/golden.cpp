#include "support/golden.h"

#include <cmath>
#include <fstream>
#include <limits>

namespace ernie_image::golden {
namespace {

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

std::int64_t integer_at(const Tensor& tensor, std::int64_t i) {
  switch (tensor.dtype()) {
    case DType::i64:
      return tensor.data<std::int64_t>()[i];
    case DType::i32:
      return tensor.data<std::int32_t>()[i];
    default:
      return tensor.data<std::uint8_t>()[i];  // u8 and boolean
  }
}

}  // namespace

std::string data_path(const std::string& path) {
  return std::string(ERNIE_IMAGE_TEST_DATA) + "/" + path;
}

Case::Case(const std::string& folder)
    : json(read_json(folder + "/case.json")),
      tensors(SafetensorsFile::open(folder + "/tensors.safetensors")) {}

Difference compare(const Tensor& actual, const Tensor& expected) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (actual.shape() != expected.shape()) return {kInfinity, 0, kInfinity};
  const Tensor a = to_float(actual), e = to_float(expected);
  Difference difference;
  double error = 0, power = 0;
  for (std::int64_t i = 0; i < e.size(); ++i) {
    const double value = e.data<float>()[i];
    const double delta = std::abs(a.data<float>()[i] - value);
    if (std::isnan(delta)) return {kInfinity, 0, kInfinity};
    difference.max_abs = std::max(difference.max_abs, delta);
    difference.max_magnitude = std::max(difference.max_magnitude, std::abs(value));
    error += delta * delta;
    power += value * value;
  }
  difference.nmse = error == 0 ? 0 : error / power;
  return difference;
}

double psnr_db(const Tensor& actual, const Tensor& expected) {
  double error = 0;
  for (std::int64_t i = 0; i < expected.size(); ++i) {
    const double delta =
        double(actual.data<std::uint8_t>()[i]) - double(expected.data<std::uint8_t>()[i]);
    error += delta * delta;
  }
  return 10.0 * std::log10(255.0 * 255.0 * static_cast<double>(expected.size()) / error);
}

::testing::AssertionResult equal_integers(const Tensor& actual, const Tensor& expected) {
  if (actual.shape() != expected.shape()) {
    return ::testing::AssertionFailure()
           << to_string(actual.shape()) << " instead of " << to_string(expected.shape());
  }
  for (std::int64_t i = 0; i < expected.size(); ++i) {
    if (integer_at(actual, i) != integer_at(expected, i)) {
      return ::testing::AssertionFailure() << "element " << i << ": " << integer_at(actual, i)
                                           << " instead of " << integer_at(expected, i);
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace ernie_image::golden
