// The conformance suite of src/verify on every device at hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "backend/composed_backend.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/registry.h"
#include "verify/conformance.h"

namespace ernie_image {
namespace {

using verify::ConformanceCase;

using Parameters = std::tuple<std::string, DType, ConformanceCase>;  // device or kernels, ...

std::string test_name(const testing::TestParamInfo<Parameters>& info) {
  const auto& [device, dtype, conformance_case] = info.param;
  return device + (dtype == DType::bf16 ? "_bf16_" : "_f32_") + conformance_case.operation + "_" +
         conformance_case.behaviour;
}

void expect_conformance(Backend& ops, const Parameters& parameters) {
  const auto& [device, dtype, conformance_case] = parameters;
  if (dtype == DType::bf16 && conformance_case.f32_only) GTEST_SKIP() << "bf16 has no such values";
  const verify::Outcome outcome = verify::run_case(conformance_case, ops, dtype);
  for (const std::string& failure : outcome.failures) ADD_FAILURE() << failure;
}

class CpuConformance : public testing::TestWithParam<Parameters> {};

TEST_P(CpuConformance, Holds) {
  // Three threads, so that work is really divided, whatever the machine.
  const auto ops = make_cpu_backend({.num_threads = 3, .kernels = std::get<0>(GetParam())});
  expect_conformance(*ops, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Cpu, CpuConformance,
                         testing::Combine(testing::ValuesIn(cpu_kernel_names()),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(verify::conformance_cases())),
                         test_name);

/// The first card of that kind, or null.
std::unique_ptr<Backend> card(const std::string& kind, const DeviceOptions& options = {}) {
  const DeviceKind* const device = find_device_kind(kind);
  if (device == nullptr || device->info().cards.empty()) return nullptr;
  return make_backend({.device = kind, .device_options = options});
}

class AscendConformance : public testing::TestWithParam<Parameters> {};

TEST_P(AscendConformance, Holds) {
  const auto ops = card("ascend", {{"ascend_attention", std::get<0>(GetParam())}});
  if (ops == nullptr) GTEST_SKIP() << "no device";
  expect_conformance(*ops, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Ascend, AscendConformance,
                         testing::Combine(testing::Values("auto"),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(verify::conformance_cases())),
                         test_name);

/// Every form that attention can take, on the cases of attention.
std::vector<ConformanceCase> attention_only() {
  const auto cases = verify::attention_cases();
  return {cases.begin(), cases.end()};
}

INSTANTIATE_TEST_SUITE_P(AscendForms, AscendConformance,
                         testing::Combine(testing::Values("flash", "lengths", "mask", "composed"),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(attention_only())),
                         test_name);

class CudaConformance : public testing::TestWithParam<Parameters> {};

TEST_P(CudaConformance, Holds) {
  const auto ops = card("cuda", {{"cuda_attention", std::get<0>(GetParam())}});
  if (ops == nullptr) GTEST_SKIP() << "no device";
  expect_conformance(*ops, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaConformance,
                         testing::Combine(testing::Values("auto"),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(verify::conformance_cases())),
                         test_name);

INSTANTIATE_TEST_SUITE_P(CudaOwn, CudaConformance,
                         testing::Combine(testing::Values("own"),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(attention_only())),
                         test_name);

/// With --gelu tanh; the parameter is a kernel set of the CPU, or a card.
class TanhGelu : public testing::TestWithParam<Parameters> {
 protected:
  static std::unique_ptr<Backend> make(const std::string& name) {
    if (find_device_kind(name) != nullptr) return card(name, {{"gelu", "tanh"}});
    return make_cpu_backend({.num_threads = 3, .kernels = name, .gelu = GeluForm::tanh});
  }
};

TEST_P(TanhGelu, Holds) {
  const auto& [name, dtype, conformance_case] = GetParam();
  const auto ops = make(name);
  if (ops == nullptr) GTEST_SKIP() << "no device";
  const verify::Outcome outcome = verify::run_case(conformance_case, *ops, dtype, GeluForm::tanh);
  for (const std::string& failure : outcome.failures) ADD_FAILURE() << failure;
}

std::vector<ConformanceCase> gelu_only() {
  std::vector<ConformanceCase> cases = verify::conformance_cases();
  std::erase_if(cases, [](const ConformanceCase& c) {
    return !std::string(c.operation).starts_with("gelu") &&
           std::string(c.behaviour) != "OfHugeValuesIsFinite" &&
           std::string(c.behaviour) != "PassesNanOn";
  });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cpu, TanhGelu,
                         testing::Combine(testing::ValuesIn(cpu_kernel_names()),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(gelu_only())),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Ascend, TanhGelu,
                         testing::Combine(testing::Values("ascend"),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(gelu_only())),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Cuda, TanhGelu,
                         testing::Combine(testing::Values("cuda"),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(gelu_only())),
                         test_name);

/// The operations that a device need not have, each in the place of the device's own.
std::vector<ConformanceCase> composed_only() {
  const std::vector<std::string> composed = {
      "linear_together", "linear_with_terms", "rms_norm_modulate", "layer_norm_modulate",
      "gelu_mul",        "silu_mul",          "gated_add"};
  std::vector<ConformanceCase> cases = verify::conformance_cases();
  std::erase_if(cases, [&](const ConformanceCase& c) {
    return std::ranges::find(composed, c.operation) == composed.end();
  });
  return cases;
}

class CpuComposition : public testing::TestWithParam<Parameters> {};

TEST_P(CpuComposition, Holds) {
  ComposedBackend ops(make_cpu_backend({.num_threads = 3, .kernels = std::get<0>(GetParam())}));
  expect_conformance(ops, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Cpu, CpuComposition,
                         testing::Combine(testing::ValuesIn(cpu_kernel_names()),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(composed_only())),
                         test_name);

class CardComposition : public testing::TestWithParam<Parameters> {};

TEST_P(CardComposition, Holds) {
  const auto& [kind, dtype, conformance_case] = GetParam();
  auto device = card(kind);
  if (device == nullptr) GTEST_SKIP() << "no device";
  if (kind == "cuda" && dtype == DType::f32 &&
      std::string(conformance_case.operation) == "layer_norm_modulate")
    GTEST_SKIP()
        << "its group norm adds the 4096 channels of one pixel one after another in float, "
           "4e-6 off; its own layer norm does not";
  ComposedBackend ops(std::move(device));
  expect_conformance(ops, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Ascend, CardComposition,
                         testing::Combine(testing::Values("ascend"),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(composed_only())),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Cuda, CardComposition,
                         testing::Combine(testing::Values("cuda"),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::ValuesIn(composed_only())),
                         test_name);

/// The suite itself: a backend that computes something slightly else must be found out.
TEST(ConformanceSuite, SeesAWrongValueAWrongShapeAndAnException) {
  const auto ops = make_cpu_backend();
  const auto wrong_value = [](verify::Verifier& v) {
    v.expect_close(v.constant({3}, 1.001f), v.constant({3}, 1), {.f32 = 1e-4f});
  };
  const auto wrong_shape = [](verify::Verifier& v) {
    v.expect_close(v.constant({3}, 1), v.constant({1, 3}, 1), {.f32 = 1e-4f});
  };
  const auto throws = [](verify::Verifier& v) { v.ops().download(v.constant({-1}, 1)); };
  for (void (*run)(verify::Verifier&) : {+wrong_value, +wrong_shape, +throws}) {
    const verify::Outcome outcome = verify::run_case({"x", "Y", run}, *ops, DType::f32);
    EXPECT_EQ(outcome.failures.size(), 1u);
  }
}

TEST(ConformanceSuite, CountsHowManyBf16ValuesRoundedTheOtherWay) {
  const auto ops = make_cpu_backend();
  verify::Verifier v(*ops, DType::bf16);
  v.expect_close(v.constant({1000}, 1.0078125f), v.constant({1000}, 1), {.f32 = 0});
  EXPECT_EQ(v.outcome().failures.size(), 1u);  // one step each is allowed, but not of all of them
}

TEST(ConformanceSuite, CoversEveryOperation) {
  std::string covered;
  for (const ConformanceCase& c : verify::conformance_cases())
    covered += std::string(c.operation) + " ";
  for (const std::string operation : {"upload",
                                      "linear",
                                      "linear_together",
                                      "linear_with_terms",
                                      "embedding",
                                      "rms_norm",
                                      "rms_norm_modulate",
                                      "layer_norm_modulate",
                                      "norm_rope",
                                      "attention",
                                      "gelu_mul",
                                      "silu_mul",
                                      "gated_add",
                                      "add",
                                      "multiply",
                                      "gelu",
                                      "silu",
                                      "cast",
                                      "concat_rows",
                                      "slice_rows",
                                      "write_rows",
                                      "transpose_rows",
                                      "conv2d",
                                      "conv2d_stride2",
                                      "group_norm",
                                      "upsample_nearest2x"}) {
    EXPECT_NE(covered.find(operation + " "), std::string::npos) << operation;
  }
}

}  // namespace
}  // namespace ernie_image
