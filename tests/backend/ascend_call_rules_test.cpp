// Rules of the two-phase call: executors, workspaces, descriptors of tensors.
#include <cstring>
#include <thread>

#include "ascend_rules.h"

namespace ernie_image::ascend {
namespace {

/// Phase 1 of Silu, as a caller of the C functions makes it.
struct SiluCall {
  SiluCall(const Tensor& x, const Tensor& y) : in(View(x)), out(View(y)) {
    status = cann().Silu.plan(in.get(), out.get(), &bytes, &executor);
  }
  TensorObject in, out;
  aclnnStatus status = 0;
  std::uint64_t bytes = 0;
  aclOpExecutor* executor = nullptr;
};

class AscendCallRules : public AscendRules {
 protected:
  void SetUp() override {
    AscendRules::SetUp();
    if (stream == nullptr) return;
    x = filled(DType::f32, {4});
    y = stream->empty(DType::f32, {4});
    workspace = stream->empty(DType::f32, {8192});
  }
  void TearDown() override {
    x = y = workspace = Tensor();
    AscendRules::TearDown();
  }

  aclnnStatus launch(const SiluCall& call, void* memory, std::uint64_t bytes) {
    return cann().Silu.launch(memory, bytes, call.executor, stream->queue().handle());
  }
  /// So that no executor is left.
  void finish(const SiluCall& call) { EXPECT_EQ(launch(call, workspace.bytes(), call.bytes), 0); }

  Tensor x, y, workspace;
};

// ---- executors ---------------------------------------------------------------------------------

TEST_F(AscendCallRules, AnExecutorWorksOnceAndForItsOwnOperation) {
  const SiluCall call(x, y);
  ASSERT_EQ(call.status, 0);
  EXPECT_TRUE(fails(
      "is that of aclnnSilu",
      cann().Mul.launch(workspace.bytes(), call.bytes, call.executor, stream->queue().handle())));
  finish(call);
  EXPECT_TRUE(fails("used before", launch(call, workspace.bytes(), call.bytes)));
}

TEST_F(AscendCallRules, AnExecutorThatIsNeverLaunchedIsLeftBehind) {
  const SiluCall call(x, y);
  EXPECT_TRUE(fails(" executor", standin_function<int()>("aclFinalize")()));
  finish(call);
  const char* const nothing = cann().aclGetRecentErrMsg();
  EXPECT_EQ(nothing, nullptr);
  standin_function<int()>("aclFinalize")();
  EXPECT_EQ(std::string(cann().aclGetRecentErrMsg()).find(" executor"), std::string::npos);
}

TEST_F(AscendCallRules, BothPhasesAreOfOneThread) {
  const SiluCall call(x, y);
  std::thread([&] {
    stream->device().bind();
    EXPECT_TRUE(fails("another thread", launch(call, workspace.bytes(), call.bytes)));
  }).join();
  finish(call);
}

TEST_F(AscendCallRules, BothPhasesAreOfOneDevice) {
  const SiluCall call(x, y);
  ASSERT_EQ(cann().aclrtSetDevice(1), 0);
  EXPECT_TRUE(fails("another device", launch(call, workspace.bytes(), call.bytes)));
  ASSERT_EQ(cann().aclrtSetDevice(0), 0);
  finish(call);
}

// ---- workspaces --------------------------------------------------------------------------------

TEST_F(AscendCallRules, AWorkspaceMustBeThereAndLargeEnough) {
  const SiluCall call(x, y);
  ASSERT_GT(call.bytes, 0u);
  EXPECT_TRUE(fails("smaller", launch(call, nullptr, call.bytes)));
  EXPECT_TRUE(fails("smaller", launch(call, workspace.bytes(), call.bytes - 1)));
  EXPECT_TRUE(fails("past the end", launch(call, y.bytes(), call.bytes)) ||
              fails("overlaps", launch(call, y.bytes(), call.bytes)));
  std::vector<std::byte> host(call.bytes);
  EXPECT_TRUE(fails("not device memory", launch(call, host.data(), call.bytes)));
  finish(call);
}

TEST_F(AscendCallRules, AWorkspaceMustNotOverlapTensors) {
  const Tensor inside(DType::f32, {4}, workspace.bytes() + 64, nullptr);
  const SiluCall call(x, inside);
  EXPECT_TRUE(fails("overlaps a tensor", launch(call, workspace.bytes(), call.bytes)));
  const Tensor other = stream->empty(DType::f32, {8192});
  EXPECT_EQ(launch(call, other.bytes(), call.bytes), 0);
}

TEST_F(AscendCallRules, AWorkspaceIsWrittenOver) {
  const Tensor kept = filled(DType::f32, {8192});
  const SiluCall call(x, y);
  EXPECT_EQ(launch(call, kept.bytes(), call.bytes), 0);
  EXPECT_NE(stream->download(kept).data<float>()[0], 0.0f);
}

// ---- descriptors -------------------------------------------------------------------------------

TEST_F(AscendCallRules, TensorsMustLiveUntilPhaseTwoAndNoLonger) {
  auto call = std::make_unique<SiluCall>(x, y);
  const std::uint64_t bytes = call->bytes;
  aclOpExecutor* const executor = call->executor;
  call.reset();
  EXPECT_TRUE(fails("destroyed between", cann().Silu.launch(workspace.bytes(), bytes, executor,
                                                            stream->queue().handle())));
  STANDIN(standin_hold)(1);
  { finish(SiluCall(x, y)); }
  STANDIN(standin_hold)(0);
  EXPECT_NO_THROW(stream->queue().synchronize());
}

TEST_F(AscendCallRules, ADestroyedTensorIsRefusedInPhaseOne) {
  const TensorObject out{View(y)};
  auto gone = std::make_unique<TensorObject>(View(x));
  aclTensor* const tensor = gone->get();
  gone.reset();
  std::uint64_t bytes = 0;
  aclOpExecutor* executor = nullptr;
  EXPECT_TRUE(fails("was destroyed", cann().Silu.plan(tensor, out.get(), &bytes, &executor)));
  EXPECT_TRUE(fails("is null", cann().Silu.plan(nullptr, out.get(), &bytes, &executor)));
}

TEST_F(AscendCallRules, TensorsOfAListAreDestroyedWithItAndNothingTwice) {
  const aclTensor* const members[] = {
      cann().aclCreateTensor(x.shape().data(), 1, ACL_FLOAT, std::vector<std::int64_t>{1}.data(), 0,
                             ACL_FORMAT_ND, x.shape().data(), 1, x.bytes())};
  aclTensorList* const list = cann().aclCreateTensorList(members, 1);
  EXPECT_EQ(cann().aclDestroyTensorList(list), 0);
  EXPECT_TRUE(fails("twice", cann().aclDestroyTensor(members[0])));
  EXPECT_TRUE(fails("twice", cann().aclDestroyTensorList(list)));
  const std::int64_t number = 1;
  aclIntArray* const array = cann().aclCreateIntArray(&number, 1);
  EXPECT_EQ(cann().aclDestroyIntArray(array), 0);
  EXPECT_TRUE(fails("twice", cann().aclDestroyIntArray(array)));
  float value = 1;
  aclScalar* const scalar = cann().aclCreateScalar(&value, ACL_FLOAT);
  EXPECT_EQ(cann().aclDestroyScalar(scalar), 0);
  EXPECT_TRUE(fails("twice", cann().aclDestroyScalar(scalar)));
}

TEST_F(AscendCallRules, TensorsOutsideTheirMemoryAreRefused) {
  View shifted(x);
  shifted.block += 4;
  EXPECT_TRUE(refuses("32 bytes", cann().Silu, shifted, y));
  View whole(x);
  whole.storage = 1 << 20;
  EXPECT_TRUE(refuses("past the end", cann().Silu, whole.window({4}, {1}, 120), y));
  EXPECT_TRUE(refuses("past the end", cann().Silu, whole.window({4}, {1000}, 0), y));
  EXPECT_TRUE(refuses("negative offset", cann().Silu, View(x).window({4}, {1}, -1), y));
  float host[16] = {};
  View of_host(x);
  of_host.block = reinterpret_cast<std::byte*>(host);
  EXPECT_TRUE(refuses("not in device memory", cann().Silu, of_host, y));
}

/// The memory has no more than the tensor: kernels read up to 32 bytes beyond.
TEST_F(AscendCallRules, MemoryNeedsSpareBytesAfterATensor) {
  const DeviceBlock tight(stream->device(), 16), roomy(stream->device(), 16 + kSpareBytes);
  const Tensor in(DType::f32, {4}, tight.data(), nullptr);
  EXPECT_TRUE(refuses("32 bytes after it", cann().Silu, in, y));
  EXPECT_NO_THROW(stream->call(cann().Silu, Tensor(DType::f32, {4}, roomy.data(), nullptr), y));
  stream->queue().synchronize();
}

TEST_F(AscendCallRules, ResultsMustNotOverlap) {
  EXPECT_TRUE(refuses("overlaps itself", cann().Silu, x, View(y).window({4}, {0}, 0)));
  EXPECT_TRUE(refuses("overlaps an input", cann().Silu, x, x));
  EXPECT_NO_THROW(stream->call(cann().InplaceFillScalar, y, Scalar{1}));
}

}  // namespace
}  // namespace ernie_image::ascend
