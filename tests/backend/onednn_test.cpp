// That the build has oneDNN's kernel set is seen in the test report; what it computes, the tests of
// every operation check, as they do for each set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/registry.h"
#include "core/tensor.h"

namespace ernie_image {
namespace {

bool has_onednn() { return std::ranges::count(cpu_kernel_names(), std::string("onednn")) == 1; }

TEST(OneDnn, IsInThisBuild) {
  if (!has_onednn()) GTEST_SKIP() << "built without libdnnl-dev, or no AVX2 here";
  EXPECT_NE(cpu_kernel_names().back(), "onednn") << "portable comes last";
}

TEST(OneDnn, RunsOnAsManyThreadsAsAskedForWithTheSameResult) {
  if (!has_onednn()) GTEST_SKIP() << "built without libdnnl-dev, or no AVX2 here";
  const Tensor x = Tensor::host(DType::f32, {40, 300}), w = Tensor::host(DType::bf16, {500, 300});
  for (std::int64_t i = 0; i < x.size(); ++i) x.data<float>()[i] = static_cast<float>(i % 7) - 3;
  for (std::int64_t i = 0; i < w.size(); ++i)
    w.data<std::uint16_t>()[i] = i % 3 == 0 ? 0x3f80 : 0;  // 1 or 0: sums are exact
  const Weight weight{"w", w.dtype(), w.shape(), w.bytes(), nullptr};
  std::vector<float> expected;
  for (const int threads : {1, 2, 3}) {
    const auto ops = make_cpu_backend({.num_threads = threads, .kernels = "onednn"});
    const Tensor y = ops->linear(x, *ops->prepare(weight, WeightUse::linear));
    const auto values = y.span<float>();
    if (expected.empty()) expected.assign(values.begin(), values.end());
    EXPECT_TRUE(std::ranges::equal(values, expected)) << threads;
  }
}

}  // namespace
}  // namespace ernie_image
