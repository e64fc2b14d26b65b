#include "verify/verifier.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>

namespace ernie_image::verify {
namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  return text;
}

}  // namespace

Tensor Verifier::random(Shape shape, float magnitude) {
  return round_to(random_f32(std::move(shape), -magnitude, magnitude), dtype_);
}

Tensor Verifier::random_f32(Shape shape, float low, float high) {
  Tensor host = Tensor::host(DType::f32, std::move(shape));
  std::uniform_real_distribution<float> uniform(low, high);
  for (float& value : host.span<float>()) value = uniform(generator_);
  return host;
}

Tensor Verifier::constant(Shape shape, float value) const {
  Tensor host = Tensor::host(DType::f32, std::move(shape));
  std::ranges::fill(host.span<float>(), value);
  return round_to(host, dtype_);
}

WeightHandle Verifier::prepare(const Tensor& host, WeightUse use, Quantization quantization) {
  return ops_.prepare(
      {"weight", host.dtype(), host.shape(), host.bytes(), std::make_shared<Tensor>(host)}, use,
      quantization);
}

void Verifier::expect(bool right, const std::string& what) {
  if (!right) outcome_.failures.push_back(what);
}

Tensor Verifier::downloaded(const Tensor& device, const Tensor& expected) {
  ++outcome_.comparisons;
  Tensor actual = ops_.download(device);
  if (actual.shape() == expected.shape() && actual.dtype() == expected.dtype()) return actual;
  expect(false, "the result is " + std::string(dtype_name(actual.dtype())) + " " +
                    to_string(actual.shape()) + ", expected " +
                    std::string(dtype_name(expected.dtype())) + " " + to_string(expected.shape()));
  return {};
}

void Verifier::keep_worst(double error, double limit) {
  if (error * std::max(outcome_.limit, 1e-30) < outcome_.worst_error * std::max(limit, 1e-30))
    return;
  outcome_.worst_error = std::max(error, 0.0);
  outcome_.limit = limit;
}

void Verifier::expect_close(const Tensor& device, const Tensor& expected,
                            const Tolerance& tolerance) {
  const Tensor actual = downloaded(device, expected);
  if (!actual.empty()) compare_values(to_float(actual), to_float(expected), tolerance);
}

void Verifier::expect_near(const Tensor& device, const Tensor& expected, double nmse) {
  const Tensor actual = downloaded(device, expected);
  if (actual.empty()) return;
  const Tensor values = to_float(actual), wanted = to_float(expected);
  double squared_error = 0, square = 0;
  for (std::int64_t i = 0; i < wanted.size(); ++i) {
    const double a = values.data<float>()[i], e = wanted.data<float>()[i];
    squared_error += (a - e) * (a - e);
    square += e * e;
  }
  const double found = squared_error == 0 ? 0 : squared_error / square;
  keep_worst(found, nmse);
  expect(found <= nmse, "nMSE of " + to_string(wanted.shape()) + " is " + number(found) +
                            ", allowed is " + number(nmse));
}

/// Both f32 on the host, of equal shape; what is allowed depends on the dtype they had.
void Verifier::compare_values(const Tensor& actual, const Tensor& expected,
                              const Tolerance& tolerance) {
  const bool bf16 = dtype_ == DType::bf16;
  const double limit = bf16 ? tolerance.bf16_steps / 128.0 : tolerance.f32;
  double worst = -1;
  std::int64_t worst_at = 0;
  std::int64_t different = 0;
  double squared_error = 0, square = 0;
  for (std::int64_t i = 0; i < expected.size(); ++i) {
    const double a = actual.data<float>()[i];
    const double e = expected.data<float>()[i];
    different += a != e ? 1 : 0;
    squared_error += (a - e) * (a - e);
    square += e * e;
    double error = std::abs(a - e) / std::max(1.0, std::abs(e));
    if (std::isnan(error)) error = std::isnan(a) && std::isnan(e) ? 0 : INFINITY;
    if (error > worst) {
      worst = error;
      worst_at = i;
    }
  }
  const std::string where = " of " + to_string(expected.shape());
  if (worst > limit) {
    expect(false, "element " + std::to_string(worst_at) + where + " is " +
                      number(actual.data<float>()[worst_at]) + ", expected " +
                      number(expected.data<float>()[worst_at]));
  }
  keep_worst(worst, limit);
  if (!bf16 || squared_error < tolerance.bf16_nmse * square) return;
  // A tensor of a few elements may have its unlucky element or two.
  const double share = tolerance.bf16_share * static_cast<double>(expected.size());
  const double allowed = tolerance.bf16_share > 0 ? std::max(share, 2.0) : 0.0;
  expect(
      static_cast<double>(different) <= allowed,
      std::to_string(different) + " elements" + where + " differ, allowed are " + number(allowed));
}

}  // namespace ernie_image::verify
