// The mutation check of the stand-in: for each rule of the device, a deliberately wrong call is
// refused. Without this, that the backend passes on it would mean little.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "ascend_standin/machine.h"
#include "backend/ascend/ascend_backend.h"
#include "backend/ascend/attention.h"
#include "backend/ascend/operations.h"
#include "backend/ascend/upload.h"
#include "ernie_image/error.h"

namespace ernie_image::ascend {
namespace {

template <typename Function>
Function* standin(const char* name) {
  void* const library = dlopen("libascendcl.so", RTLD_LAZY | RTLD_NOLOAD);
  return library == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(library, name));
}
#define STANDIN(name) standin<decltype(::name)>(#name)

class AscendRules : public testing::Test {
 protected:
  void SetUp() override {
    if (!cann().problem.empty() || STANDIN(standin_books) == nullptr) {
      GTEST_SKIP() << "these calls are for the stand-in only";
    }
    stream = std::make_unique<Stream>(0);
  }
  void TearDown() override {
    if (stream == nullptr) return;
    STANDIN(standin_hold)(0);
    stream.reset();
    STANDIN(standin_forget_violations)();
  }

  Tensor filled(DType dtype, const Shape& shape) {
    return upload(*stream, round_to(Tensor::host(DType::f32, shape), dtype));
  }
  Tensor bools(const Shape& shape) { return upload(*stream, Tensor::host(DType::boolean, shape)); }

  /// Whether the call is refused, with these words.
  template <typename Call>
  testing::AssertionResult refused(const std::string& words, const Call& call) {
    try {
      call();
    } catch (const Error& error) {
      if (std::string(error.what()).find(words) != std::string::npos)
        return testing::AssertionSuccess();
      return testing::AssertionFailure() << "other words: " << error.what();
    }
    return testing::AssertionFailure() << "it was accepted";
  }

  template <typename Operation, typename... Arguments>
  testing::AssertionResult refuses(const std::string& words, const Operation& operation,
                                   const Arguments&... arguments) {
    return refused(words, [&] { stream->call(operation, arguments...); });
  }

  std::string violation() { return STANDIN(standin_first_violation)(); }

  std::unique_ptr<Stream> stream;
};

const View kNone;
constexpr std::int8_t kKeep = 0;

TEST_F(AscendRules, AThreadWithoutADeviceIsRefused) {
  aclError status = 0;
  std::thread([&] {
    void* memory = nullptr;
    status = cann().aclrtMalloc(&memory, 64, ACL_MEM_MALLOC_HUGE_FIRST);
  }).join();
  EXPECT_NE(status, 0);
}

TEST_F(AscendRules, ACopyWithoutWaitingReadsWhatIsNotThereYet) {
  const Tensor x = filled(DType::f32, {4});
  stream->queue().synchronize();
  STANDIN(standin_hold)(1);
  const Tensor y = stream->empty(DType::f32, {4});
  stream->call(cann().Silu, x, y);
  float values[4] = {};
  ASSERT_EQ(cann().aclrtMemcpy(values, 16, y.bytes(), 16, ACL_MEMCPY_DEVICE_TO_HOST), 0);
  EXPECT_TRUE(std::isnan(values[0]));
  STANDIN(standin_hold)(0);
  EXPECT_EQ(download(*stream, y).data<float>()[0], 0.0f);
}

TEST_F(AscendRules, MemoryFreedBeforeItsWorkRanIsFound) {
  DeviceBlock block(stream->device(), 4096);
  STANDIN(standin_hold)(1);
  const Tensor x(DType::f32, {4}, block.data(), nullptr);
  stream->call(cann().InplaceFillScalar, x, Scalar{1});
  EXPECT_NE(cann().aclrtFree(block.data()), 0);
  EXPECT_NE(violation().find("aclnnInplaceFillScalar"), std::string::npos) << violation();
  STANDIN(standin_hold)(0);
  EXPECT_TRUE(refused("queued", [&] { stream->queue().synchronize(); }));
  STANDIN(standin_forget_violations)();
}

TEST_F(AscendRules, APinnedBufferChangedTooEarlyIsFound) {
  PinnedBlock pinned(64);
  std::memset(pinned.data(), 1, 64);
  const Tensor target = stream->empty(DType::f32, {16});
  STANDIN(standin_hold)(1);
  ASSERT_EQ(cann().aclrtMemcpyAsync(target.bytes(), 64, pinned.data(), 64,
                                    ACL_MEMCPY_HOST_TO_DEVICE, stream->queue().get()),
            0);
  std::memset(pinned.data(), 2, 64);
  STANDIN(standin_hold)(0);
  EXPECT_TRUE(refused("pinned", [&] { stream->queue().synchronize(); }));
}

TEST_F(AscendRules, WrongAllocationsAndFreesAreRefused) {
  void* memory = nullptr;
  EXPECT_NE(cann().aclrtMalloc(&memory, 0, ACL_MEM_MALLOC_HUGE_FIRST), 0);
  EXPECT_NE(cann().aclrtFree(nullptr), 0);
  ASSERT_EQ(cann().aclrtMalloc(&memory, 1024, ACL_MEM_MALLOC_HUGE_FIRST), 0);
  EXPECT_NE(cann().aclrtFree(static_cast<std::byte*>(memory) + 512), 0);
  EXPECT_EQ(cann().aclrtFree(memory), 0);
  EXPECT_NE(cann().aclrtFree(memory), 0);
}

TEST_F(AscendRules, CopiesOfTheWrongSideOrSizeAreRefused) {
  const Tensor x = filled(DType::f32, {4});
  float host[4] = {};
  EXPECT_NE(cann().aclrtMemcpy(host, 16, x.bytes(), 16, ACL_MEMCPY_HOST_TO_DEVICE), 0);
  EXPECT_NE(cann().aclrtMemcpy(host, 8, x.bytes(), 16, ACL_MEMCPY_DEVICE_TO_HOST), 0);
}

TEST_F(AscendRules, FullMemoryIsAnErrorWithTheNumbers) {
  STANDIN(standin_set_capacity)(0, 1 << 20);
  EXPECT_TRUE(refused("--offload", [&] { stream->empty(DType::f32, {1 << 20}); }));
  STANDIN(standin_set_capacity)(0, std::uint64_t{64} << 30);
}

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

TEST_F(AscendRules, AnExecutorWorksOnceAndForItsOwnOperation) {
  const Tensor x = filled(DType::f32, {4});
  const Tensor y = stream->empty(DType::f32, {4});
  const Tensor workspace = stream->empty(DType::f32, {8192});
  const SiluCall call(x, y);
  ASSERT_EQ(call.status, 0);
  const aclrtStream queue = stream->queue().get();
  EXPECT_NE(cann().Mul.launch(workspace.bytes(), call.bytes, call.executor, queue), 0);
  EXPECT_NE(cann().Silu.launch(workspace.bytes(), call.bytes - 1, call.executor, queue), 0);
  EXPECT_NE(cann().Silu.launch(nullptr, call.bytes, call.executor, queue), 0);
  EXPECT_EQ(cann().Silu.launch(workspace.bytes(), call.bytes, call.executor, queue), 0);
  EXPECT_NE(cann().Silu.launch(workspace.bytes(), call.bytes, call.executor, queue), 0);
}

TEST_F(AscendRules, TensorsMustLiveUntilPhaseTwo) {
  const Tensor x = filled(DType::f32, {4});
  const Tensor y = stream->empty(DType::f32, {4});
  const Tensor workspace = stream->empty(DType::f32, {8192});
  auto call = std::make_unique<SiluCall>(x, y);
  const std::uint64_t bytes = call->bytes;
  aclOpExecutor* const executor = call->executor;
  call.reset();
  EXPECT_NE(cann().Silu.launch(workspace.bytes(), bytes, executor, stream->queue().get()), 0);
}

TEST_F(AscendRules, TensorsOfAListAreDestroyedWithIt) {
  const TensorObject member{View(filled(DType::f32, {4}))};
  const aclTensor* const members[] = {member.get()};
  aclTensorList* const list = cann().aclCreateTensorList(members, 1);
  EXPECT_EQ(cann().aclDestroyTensorList(list), 0);
  EXPECT_NE(cann().aclDestroyTensor(member.get()), 0);
}

TEST_F(AscendRules, TensorsOutsideTheirMemoryAreRefused) {
  const Tensor x = filled(DType::f32, {4});
  const Tensor y = stream->empty(DType::f32, {4});
  View shifted(x);
  shifted.block += 4;
  EXPECT_TRUE(refuses("32 bytes", cann().Silu, shifted, y));
  EXPECT_TRUE(refuses("past the end", cann().Silu, View(x).window({4}, {1}, 120), y));
  EXPECT_TRUE(refuses("overlaps itself", cann().Silu, x, View(y).window({4}, {0}, 0)));
  EXPECT_TRUE(refuses("overlaps an input", cann().Silu, x, x));
}

TEST_F(AscendRules, TypesThatDoNotGoTogetherAreRefused) {
  const Tensor x = filled(DType::bf16, {4, 8});
  const Tensor w = filled(DType::f32, {8, 6});
  const Tensor half = filled(DType::bf16, {8, 6});
  const Tensor y = stream->empty(DType::bf16, {4, 6});
  const std::int8_t fp16 = 2;
  EXPECT_TRUE(refuses("one dtype", cann().Mm, x, w, y, kKeep));
  EXPECT_TRUE(refuses("cubeMathType 2", cann().Mm, x, half, y, fp16));
  const Tensor gamma = filled(DType::f32, {8});
  const Tensor normed = stream->empty(DType::bf16, {4, 8});
  EXPECT_TRUE(refuses("rstdOut", cann().RmsNorm, x, gamma, 1e-6, normed,
                      stream->empty(DType::bf16, {4, 1})));
  EXPECT_TRUE(
      refuses("rstdOut", cann().RmsNorm, x, gamma, 1e-6, normed, stream->empty(DType::f32, {4})));
}

TEST_F(AscendRules, ConvolutionsNeedTheirFormatAndOneType) {
  const Tensor x = filled(DType::bf16, {1, 3, 4, 4});
  const Tensor w = filled(DType::bf16, {2, 3, 1, 1});
  const Tensor y = stream->empty(DType::bf16, {1, 2, 4, 4});
  const auto conv = [&](const View& input, const Tensor& bias) {
    stream->call(cann().Convolution, input, View(w).as(ACL_FORMAT_NCHW), bias, Integers{{1, 1}},
                 Integers{{0, 0}}, Integers{{1, 1}}, false, Integers{{0, 0}}, std::int64_t{1},
                 View(y).as(ACL_FORMAT_NCHW), kKeep);
  };
  EXPECT_TRUE(refused("format", [&] { conv(x, filled(DType::bf16, {2})); }));
  EXPECT_TRUE(
      refused("one dtype", [&] { conv(View(x).as(ACL_FORMAT_NCHW), filled(DType::f32, {2})); }));
}

class AscendAttentionRules : public AscendRules {
 protected:
  void fused(const View& q, const View& k, const View& mask,
             const Integers& lengths = {{}, false}) {
    char layout[] = "BSND";
    const std::int64_t heads = q.shape[2], kv_heads = k.shape[2], zero = 0, all = 2147483647;
    const Tensor y = stream->empty(q.dtype, q.shape);
    stream->call(cann().FusedInferAttentionScoreV2, q, ViewList{{k}}, ViewList{{k}}, kNone, mask,
                 nullptr, lengths, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone,
                 kNone, kNone, kNone, kNone, kNone, kNone, kNone, nullptr, heads, 1.0, all, all,
                 static_cast<char*>(layout), kv_heads, zero, zero, zero, zero, false, zero, zero, y,
                 nullptr);
  }
};

TEST_F(AscendAttentionRules, MasksOfTheWrongShapeOrTypeAreRefused) {
  const Tensor query = filled(DType::bf16, {2, 5, 2, 16}), key = filled(DType::bf16, {2, 7, 2, 16});
  EXPECT_TRUE(refused("must be larger than sQ(5)", [&] {
    fused(query, key, View(bools({2, 1, 1, 7})));
  }));
  EXPECT_TRUE(refused("KV_S(6)", [&] { fused(query, key, View(bools({2, 1, 5, 6}))); }));
  EXPECT_TRUE(refused("batch(3)", [&] { fused(query, key, View(bools({3, 1, 5, 7}))); }));
  EXPECT_TRUE(refused("BOOL", [&] { fused(query, key, View(filled(DType::f32, {2, 1, 5, 7}))); }));
  EXPECT_TRUE(refused("rank", [&] { fused(query, key, View(bools({7}))); }));
  EXPECT_NO_THROW(fused(query, key, View(bools({2, 1, 5, 7}))));
  EXPECT_NO_THROW(fused(query, key, View(bools({1, 1, 5, 7}))));
}

TEST_F(AscendAttentionRules, AMaskForASingleQueryIsRefused) {
  const Tensor q = filled(DType::bf16, {1, 1, 2, 16}), k = filled(DType::bf16, {1, 7, 2, 16});
  EXPECT_TRUE(refused("single query", [&] { fused(q, k, View(bools({1, 1, 1, 7}))); }));
}

TEST_F(AscendAttentionRules, WhatTheFusedKernelCannotDoIsRefused) {
  const Tensor q = filled(DType::bf16, {1, 5, 2, 16}), k = filled(DType::bf16, {1, 7, 2, 16});
  EXPECT_TRUE(refused("FLOAT", [&] {
    fused(filled(DType::f32, {1, 5, 2, 16}), filled(DType::f32, {1, 7, 2, 16}), kNone);
  }));
  EXPECT_TRUE(refused("divide by 16", [&] {
    fused(filled(DType::bf16, {1, 5, 2, 24}), filled(DType::bf16, {1, 7, 2, 24}), kNone);
  }));
  EXPECT_TRUE(refused("key length", [&] { fused(q, k, kNone, {{8}}); }));
  EXPECT_TRUE(refused("dense", [&] {
    fused(View(filled(DType::bf16, {1, 2, 5, 16})).with_axes_swapped(1, 2), k, kNone);
  }));
}

TEST_F(AscendAttentionRules, ADenseMaskAlwaysHasARowForEachQuery) {
  const DenseMask lengths(*stream, {AttentionMask::Kind::key_lengths, {3, 7}}, 2, 5, 7);
  EXPECT_EQ(lengths.tensor().shape(), (Shape{2, 1, 5, 7}));
  const DenseMask causal(*stream, {AttentionMask::Kind::causal, {}}, 2, 5, 7);
  EXPECT_EQ(causal.tensor().shape(), (Shape{1, 1, 5, 7}));
  const Tensor mask = download(*stream, lengths.tensor());
  for (std::int64_t i = 0; i < mask.size(); ++i) {
    const std::int64_t length = i < 35 ? 3 : 7;
    EXPECT_EQ(mask.data<std::uint8_t>()[i], i % 7 >= length ? 1 : 0) << i;  // 1 hides
  }
}

TEST_F(AscendRules, AnErrorNamesOperationTypesShapesAndTheDevicesWords) {
  STANDIN(standin_fail)("aclnnSilu", 1, 561002);
  const Tensor x = filled(DType::bf16, {2, 3});
  try {
    silu(*stream, x);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::device);
    const std::string message = error.what();
    for (const char* part : {"aclnnSilu", "BF16 [2, 3]", "561002", "ordered by a test"})
      EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

TEST_F(AscendRules, NothingIsLeftBehind) {
  stream.reset();
  StandinBooks before{}, after{};
  STANDIN(standin_books)(0, &before);
  {
    const auto ops = make_ascend_backend();
    const Tensor x = ops->upload(round_to(Tensor::host(DType::f32, {2, 4, 2, 24}), DType::bf16));
    ops->download(ops->attention(x, x, x, {AttentionMask::Kind::causal, {}}, 0.2f));
  }
  STANDIN(standin_books)(0, &after);
  EXPECT_EQ(after.blocks, before.blocks);
  EXPECT_EQ(after.pinned_blocks, before.pinned_blocks);
  EXPECT_EQ(after.objects, before.objects);
  EXPECT_EQ(after.violations, 0u) << violation();
}

}  // namespace
}  // namespace ernie_image::ascend
