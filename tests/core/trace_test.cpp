#include "core/trace.h"

#include <gtest/gtest.h>

#include <cstring>

namespace ernie_image {
namespace {

/// As a program writes it that has the public header alone.
class Keeper : public Trace {
 public:
  bool wants(std::string_view name) const override { return name == "a"; }
  void record(const std::string& name, const TracedTensor& tensor) override {
    name_ = name;
    tensor_ = tensor;
  }
  std::string name_;
  TracedTensor tensor_;
};

class OwnKeeper : public TensorTrace {
 public:
  bool wants(std::string_view) const override { return true; }
  void record(const std::string&, const Tensor& host) override { tensor_ = host; }
  Tensor tensor_;
};

TEST(Trace, KeepsTheValuesOfATensorThatIsGone) {
  Keeper keeper;
  {
    const std::vector<float> values = {1, 2, 3, 4, 5, 6};
    record_tensor(keeper, "a", Tensor::copy_of<float>(DType::f32, {2, 3}, values));
  }
  EXPECT_EQ(keeper.name_, "a");
  EXPECT_EQ(keeper.tensor_.dtype, "F32");
  EXPECT_EQ(keeper.tensor_.shape, (std::vector<std::int64_t>{2, 3}));
  ASSERT_EQ(keeper.tensor_.bytes.size(), 24u);
  float last = 0;
  std::memcpy(&last, keeper.tensor_.bytes.data() + 20, sizeof(last));
  EXPECT_EQ(last, 6);
}

TEST(Trace, TheProjectsOwnGetTheTensorItself) {
  OwnKeeper keeper;
  const Tensor tensor = Tensor::host(DType::bf16, {4});
  record_tensor(keeper, "a", tensor);
  EXPECT_EQ(keeper.tensor_.bytes(), tensor.bytes());
  EXPECT_EQ(keeper.tensor_.dtype(), DType::bf16);
  EXPECT_EQ(keeper.tensor_.shape(), tensor.shape());
}

}  // namespace
}  // namespace ernie_image
