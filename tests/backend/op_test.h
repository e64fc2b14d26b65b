// The fixture of operation tests: a CPU backend with one kernel set, one activation dtype, random
// tensors, and comparisons with the oracle.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <tuple>

#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"
#include "core/tensor.h"
#include "core/weight.h"

namespace ernie_image {

/// How far a result may be from the oracle's.
struct Tolerance {
  /// f32: |difference| <= f32 * max(1, |expected|).
  float f32;
  /// bf16: this share of the elements may differ at all. The oracle rounds a double, a backend a
  /// float that is wrong by some 1e-7 to 1e-6 of itself; the bf16 steps are 2^-8 apart, so about
  /// one value in a thousand lies close enough to the middle of a step to go the other way.
  double bf16_share = 0.003;
  /// bf16: and by no more than this many steps of max(1, |expected|): an intermediate value that
  /// went the other way is a whole step wrong.
  float bf16_steps = 1.0f;
};

/// Where every operation of float is exact, or rounds as the oracle's double does.
constexpr Tolerance kExact = {.f32 = 0.0f, .bf16_share = 0.0, .bf16_steps = 0.0f};

class OpTest : public testing::TestWithParam<std::tuple<std::string, DType>> {
 protected:
  Backend& ops() { return *ops_; }
  DType dtype() const { return std::get<1>(GetParam()); }

  /// Uniform in [-magnitude, magnitude), of the activation dtype.
  Tensor random(Shape shape, float magnitude = 1.0f) {
    return round_to(random_f32(std::move(shape), -magnitude, magnitude), dtype());
  }

  Tensor random_f32(Shape shape, float low, float high) {
    Tensor host = Tensor::host(DType::f32, std::move(shape));
    std::uniform_real_distribution<float> uniform(low, high);
    for (float& value : host.span<float>()) value = uniform(generator_);
    return host;
  }

  WeightHandle prepare(const Tensor& host, WeightUse use = WeightUse::vector) {
    return ops().prepare(
        {"weight", host.dtype(), host.shape(), host.bytes(), std::make_shared<Tensor>(host)}, use);
  }

  void expect_close(const Tensor& device, const Tensor& expected, const Tolerance& tolerance) {
    const Tensor actual = ops().download(device);
    ASSERT_EQ(actual.shape(), expected.shape());
    ASSERT_EQ(actual.dtype(), expected.dtype());
    const bool bf16 = expected.dtype() == DType::bf16;
    const float unit = bf16 ? tolerance.bf16_steps / 128.0f : tolerance.f32;
    const Tensor wide_actual = to_float(actual);
    const Tensor wide_expected = to_float(expected);
    std::int64_t different = 0;
    for (std::int64_t i = 0; i < expected.size(); ++i) {
      const float a = wide_actual.data<float>()[i];
      const float e = wide_expected.data<float>()[i];
      different += a != e ? 1 : 0;
      ASSERT_LE(std::abs(a - e), unit * std::max(1.0f, std::abs(e)))
          << "element " << i << " of " << to_string(expected.shape()) << ": " << a << ", expected "
          << e;
    }
    if (!bf16) return;
    // A tensor of a few elements may have its one unlucky element.
    const double allowed = tolerance.bf16_share * static_cast<double>(expected.size());
    EXPECT_LE(different, tolerance.bf16_share > 0 ? std::max(allowed, 2.0) : 0.0)
        << "of " << expected.size() << " elements differ";
  }

 private:
  // Three threads, so that work is really divided, whatever the machine.
  std::unique_ptr<Backend> ops_ =
      make_cpu_backend({.num_threads = 3, .kernels = std::get<0>(GetParam())});
  std::mt19937 generator_{42};
};

inline std::string op_test_name(const testing::TestParamInfo<OpTest::ParamType>& info) {
  return std::get<0>(info.param) + (std::get<1>(info.param) == DType::bf16 ? "_bf16" : "_f32");
}

/// Runs the tests of a fixture derived from OpTest for every kernel set and dtype.
#define ERNIE_IMAGE_INSTANTIATE_OP_TEST(fixture)                                       \
  INSTANTIATE_TEST_SUITE_P(Cpu, fixture,                                               \
                           testing::Combine(testing::ValuesIn(cpu_kernel_names()),     \
                                            testing::Values(DType::f32, DType::bf16)), \
                           op_test_name)

}  // namespace ernie_image
