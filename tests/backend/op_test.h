// The fixture of tests of the CPU's own: a CPU backend with one kernel set, one activation dtype.
// What every backend must do is in src/verify.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/registry.h"
#include "core/tensor.h"
#include "core/weight.h"
#include "verify/verifier.h"

namespace ernie_image {

using verify::kExact;
using verify::Tolerance;

class OpTest : public testing::TestWithParam<std::tuple<std::string, DType>> {
 protected:
  Backend& ops() { return *ops_; }
  DType dtype() const { return verifier_.dtype(); }

  Tensor random(Shape shape, float magnitude = 1.0f) {
    return verifier_.random(std::move(shape), magnitude);
  }
  Tensor random_f32(Shape shape, float low, float high) {
    return verifier_.random_f32(std::move(shape), low, high);
  }
  WeightHandle prepare(const Tensor& host, WeightUse use = WeightUse::vector) {
    return verifier_.prepare(host, use);
  }

  void expect_close(const Tensor& device, const Tensor& expected, const Tolerance& tolerance) {
    const std::size_t before = verifier_.outcome().failures.size();
    verifier_.expect_close(device, expected, tolerance);
    const auto& failures = verifier_.outcome().failures;
    for (std::size_t i = before; i < failures.size(); ++i) ADD_FAILURE() << failures[i];
  }

 private:
  // Three threads, so that work is really divided, whatever the machine.
  std::unique_ptr<Backend> ops_ =
      make_cpu_backend({.num_threads = 3, .kernels = std::get<0>(GetParam())});
  verify::Verifier verifier_{*ops_, std::get<1>(GetParam())};
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
