// Rules of the runtime: start and end, memory, copies, queues.
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <thread>

#include "ascend_rules.h"
#include "backend/ascend/ascend_backend.h"
#include "backend/ascend/operations.h"
#include "core/packed_weight.h"
#include "core/quantization.h"
#include "core/unpack_weight.h"

extern "C" int aclFinalize();

namespace ernie_image::ascend {
namespace {

class AscendRuntimeRules : public AscendRules {
 protected:
  aclError copy_to_device(const Tensor& target, const void* source, const Queue& queue) {
    return cann().aclrtMemcpyAsync(target.bytes(), target.size_bytes(), source, target.size_bytes(),
                                   ACL_MEMCPY_HOST_TO_DEVICE, queue.handle());
  }
};

// ---- start and end -----------------------------------------------------------------------------

TEST_F(AscendRuntimeRules, NothingWorksBeforeInitAndAfterFinalize) {
  stream.reset();
  ASSERT_EQ(STANDIN(aclFinalize)(), 0) << cann().aclGetRecentErrMsg();
  void* memory = nullptr;
  std::uint32_t count = 0;
  const std::int64_t number = 1;
  EXPECT_TRUE(fails("aclInit", cann().aclrtGetDeviceCount(&count)));
  EXPECT_TRUE(fails("aclInit", cann().aclrtSetDevice(0)));
  EXPECT_TRUE(fails("aclInit", cann().aclrtMalloc(&memory, 64, ACL_MEM_MALLOC_HUGE_FIRST)));
  EXPECT_TRUE(fails("aclInit", cann().aclrtCreateStream(&memory)));
  EXPECT_EQ(cann().aclCreateIntArray(&number, 1), nullptr);
  EXPECT_TRUE(fails("aclInit", STANDIN(aclFinalize)()));
  EXPECT_EQ(cann().aclInit(nullptr), 0);
  EXPECT_EQ(cann().aclInit(nullptr), kAclRepeatInitialize);
}

TEST_F(AscendRuntimeRules, AThreadWithoutADeviceIsRefused) {
  std::thread([&] {
    void* memory = nullptr;
    EXPECT_TRUE(fails("no device set", cann().aclrtMalloc(&memory, 64, ACL_MEM_MALLOC_HUGE_FIRST)));
  }).join();
}

TEST_F(AscendRuntimeRules, FinalizeRefusesToLeaveAnythingBehind) {
  const auto left = [&](const char* what) { return fails(what, STANDIN(aclFinalize)()); };
  const Tensor x = filled(DType::f32, {4});
  stream->queue().synchronize();
  EXPECT_TRUE(left(" block"));
  EXPECT_TRUE(left(" pinned"));
  EXPECT_TRUE(left(" stream"));
  EXPECT_TRUE(left(" event"));
  const TensorObject tensor{View(x)};
  EXPECT_TRUE(left(" tensor"));
  const ScalarObject scalar(Scalar{1});
  EXPECT_TRUE(left(" scalar"));
  const IntegersObject array(Integers{{1}});
  EXPECT_TRUE(left(" array"));
  const ListObject list(ViewList{{View(x)}});
  EXPECT_TRUE(left(" tensor list"));
}

TEST_F(AscendRuntimeRules, AMessageIsItsThreadsAndReadOnce) {
  EXPECT_NE(cann().aclrtFree(nullptr), 0);
  std::thread([] { EXPECT_EQ(cann().aclGetRecentErrMsg(), nullptr); }).join();
  EXPECT_NE(cann().aclGetRecentErrMsg(), nullptr);
  EXPECT_EQ(cann().aclGetRecentErrMsg(), nullptr);
}

// ---- memory ------------------------------------------------------------------------------------

using AscendRuntimeRulesDeathTest = AscendRuntimeRules;

TEST_F(AscendRuntimeRulesDeathTest, TheHostCannotTouchDeviceMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const DeviceBlock block(stream->device(), 64);
  EXPECT_DEATH(*reinterpret_cast<volatile char*>(block.data()) = 1, "");
}

TEST_F(AscendRuntimeRules, FreshMemoryIsNan) {
  const DeviceBlock block(stream->device(), 4 * sizeof(float));
  float values[4] = {};
  ASSERT_EQ(cann().aclrtMemcpy(values, 16, block.data(), 16, ACL_MEMCPY_DEVICE_TO_HOST), 0);
  for (const float value : values) EXPECT_TRUE(std::isnan(value));
}

TEST_F(AscendRuntimeRules, FreedMemoryIsRefusedAndItsAddressNotUsedAgain) {
  const void* freed = nullptr;
  {
    const DeviceBlock block(stream->device(), 4096);
    freed = block.data();
  }
  const DeviceBlock next(stream->device(), 4096);
  EXPECT_NE(next.data(), freed);
  float host[4] = {};
  EXPECT_TRUE(
      fails("not allocated", cann().aclrtMemcpy(host, 16, freed, 16, ACL_MEMCPY_DEVICE_TO_HOST)));
}

TEST_F(AscendRuntimeRules, WrongAllocationsAndFreesAreRefused) {
  void* memory = nullptr;
  EXPECT_TRUE(fails("0 bytes", cann().aclrtMalloc(&memory, 0, ACL_MEM_MALLOC_HUGE_FIRST)));
  EXPECT_TRUE(fails("0 bytes", cann().aclrtMallocHost(&memory, 0)));
  EXPECT_TRUE(fails("null", cann().aclrtFree(nullptr)));
  ASSERT_EQ(cann().aclrtMalloc(&memory, 1024, ACL_MEM_MALLOC_HUGE_FIRST), 0);
  EXPECT_TRUE(fails("not a block", cann().aclrtFree(static_cast<std::byte*>(memory) + 512)));
  EXPECT_EQ(cann().aclrtFree(memory), 0);
  EXPECT_TRUE(fails("not a block", cann().aclrtFree(memory)));
  int on_the_stack = 0;
  EXPECT_TRUE(fails("not pinned", cann().aclrtFreeHost(&on_the_stack)));
}

TEST_F(AscendRuntimeRules, FullMemoryIsAnErrorWithTheNumbers) {
  STANDIN(standin_set_capacity)(0, 1 << 20);
  EXPECT_TRUE(refused("--offload", [&] { stream->empty(DType::f32, {1 << 20}); }));
  STANDIN(standin_set_capacity)(0, std::uint64_t{64} << 30);
}

TEST_F(AscendRuntimeRules, MemoryFreedBeforeItsWorkRanIsFound) {
  DeviceBlock block(stream->device(), 4096);
  STANDIN(standin_hold)(1);
  const Tensor x(DType::f32, {4}, block.data(), nullptr);
  stream->call(cann().InplaceFillScalar, x, Scalar{1});
  EXPECT_TRUE(fails("aclnnInplaceFillScalar", cann().aclrtFree(block.data())));
  STANDIN(standin_hold)(0);
  EXPECT_TRUE(refused("queued", [&] { stream->queue().synchronize(); }));
}

TEST_F(AscendRuntimeRules, FreeingWithoutHavingWaitedIsFoundEvenIfTheWorkHasRun) {
  DeviceBlock block(stream->device(), 4096);
  const Tensor x(DType::f32, {4}, block.data(), nullptr);
  stream->call(cann().InplaceFillScalar, x, Scalar{1});
  StandinBooks before{}, now{};
  STANDIN(standin_books)(0, &before);
  for (int i = 0; i < 100; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  STANDIN(standin_books)(0, &now);
  EXPECT_TRUE(fails("aclnnInplaceFillScalar", cann().aclrtFree(block.data())));
  STANDIN(standin_forget_violations)();
  stream->queue().synchronize();
}

// ---- copies ------------------------------------------------------------------------------------

TEST_F(AscendRuntimeRules, CopiesOfTheWrongSideOrSizeAreRefused) {
  const Tensor x = filled(DType::f32, {4});
  stream->queue().synchronize();
  float host[4] = {}, other[4] = {};
  EXPECT_TRUE(fails("source is device memory",
                    cann().aclrtMemcpy(x.bytes(), 16, x.bytes(), 16, ACL_MEMCPY_HOST_TO_DEVICE)));
  EXPECT_TRUE(fails("target is not device",
                    cann().aclrtMemcpy(host, 16, other, 16, ACL_MEMCPY_HOST_TO_DEVICE)));
  EXPECT_TRUE(fails("source is not device",
                    cann().aclrtMemcpy(host, 16, other, 16, ACL_MEMCPY_DEVICE_TO_HOST)));
  EXPECT_TRUE(fails("larger than its target",
                    cann().aclrtMemcpy(host, 8, x.bytes(), 16, ACL_MEMCPY_DEVICE_TO_HOST)));
  EXPECT_TRUE(fails("past the end", cann().aclrtMemcpy(x.bytes(), 1 << 20, host, 1 << 20,
                                                       ACL_MEMCPY_HOST_TO_DEVICE)));
}

TEST_F(AscendRuntimeRules, AQueuedCopyFromHostToHostIsRefused) {
  PinnedBlock a(stream->device(), 64), b(stream->device(), 64);
  EXPECT_TRUE(fails("neither side is the device",
                    cann().aclrtMemcpyAsync(a.data(), 64, b.data(), 64, aclrtMemcpyKind{},
                                            stream->queue().handle())));
}

TEST_F(AscendRuntimeRules, ACopyWithoutWaitingReadsWhatIsNotThereYetAndIsFound) {
  const Tensor x = filled(DType::f32, {4});
  stream->queue().synchronize();
  STANDIN(standin_hold)(1);
  const Tensor y = stream->empty(DType::f32, {4});
  stream->call(cann().Silu, x, y);
  float values[4] = {};
  ASSERT_EQ(cann().aclrtMemcpy(values, 16, y.bytes(), 16, ACL_MEMCPY_DEVICE_TO_HOST), 0);
  EXPECT_TRUE(std::isnan(values[0]));
  STANDIN(standin_hold)(0);
  EXPECT_TRUE(refused("without waiting for the aclnnSilu", [&] { stream->download(y); }));
  STANDIN(standin_forget_violations)();
  EXPECT_EQ(stream->download(y).data<float>()[0], 0.0f);
}

TEST_F(AscendRuntimeRules, ACopyFromPinnedMemoryIsDeferred) {
  const Tensor target = stream->empty(DType::f32, {16});
  PinnedBlock pinned(stream->device(), 64);
  std::memset(pinned.data(), 1, 64);
  STANDIN(standin_hold)(1);
  ASSERT_EQ(copy_to_device(target, pinned.data(), stream->queue()), 0);
  float values[16] = {};
  ASSERT_EQ(cann().aclrtMemcpy(values, 64, target.bytes(), 64, ACL_MEMCPY_DEVICE_TO_HOST), 0);
  EXPECT_TRUE(std::isnan(values[0]));
  STANDIN(standin_hold)(0);
  STANDIN(standin_forget_violations)();
  stream->queue().synchronize();
}

TEST_F(AscendRuntimeRules, ACopyFromOrdinaryMemoryComesBackWhenItIsDone) {
  const Tensor target = stream->empty(DType::f32, {16});
  std::vector<float> host(16, 3.0f);
  ASSERT_EQ(copy_to_device(target, host.data(), stream->queue()), 0);
  host.assign(16, 4.0f);  // no harm
  EXPECT_EQ(stream->download(target).data<float>()[15], 3.0f);
}

TEST_F(AscendRuntimeRules, APinnedBufferChangedTooEarlyIsFound) {
  PinnedBlock pinned(stream->device(), 64);
  std::memset(pinned.data(), 1, 64);
  const Tensor target = stream->empty(DType::f32, {16});
  STANDIN(standin_hold)(1);
  ASSERT_EQ(copy_to_device(target, pinned.data(), stream->queue()), 0);
  std::memset(pinned.data(), 2, 64);
  STANDIN(standin_hold)(0);
  EXPECT_TRUE(refused("pinned", [&] { stream->queue().synchronize(); }));
}

TEST_F(AscendRuntimeRules, PinnedMemoryFreedBeforeItsCopyRanIsFound) {
  const Tensor target = stream->empty(DType::f32, {16});
  PinnedBlock pinned(stream->device(), 64);
  std::memset(pinned.data(), 1, 64);
  STANDIN(standin_hold)(1);
  ASSERT_EQ(copy_to_device(target, pinned.data(), stream->queue()), 0);
  EXPECT_TRUE(fails("queued copy", cann().aclrtFreeHost(pinned.data())));
  STANDIN(standin_hold)(0);
  STANDIN(standin_forget_violations)();
  stream->queue().synchronize();
}

// ---- queues ------------------------------------------------------------------------------------

TEST_F(AscendRuntimeRules, QueuesAreOrderedByEventsOnly) {
  const Tensor x = filled(DType::f32, {4});
  const Tensor y = stream->empty(DType::f32, {4});
  stream->call(cann().Silu, x, y);
  const Queue other(stream->device());
  PinnedBlock pinned(stream->device(), 16);
  std::memset(pinned.data(), 0, 16);
  ASSERT_EQ(copy_to_device(y, pinned.data(), other), 0);
  EXPECT_TRUE(refused("no event orders them", [&] { other.synchronize(); }));
  STANDIN(standin_forget_violations)();
  stream->queue().synchronize();
}

TEST_F(AscendRuntimeRules, AnEventOrdersTwoQueues) {
  const Tensor x = filled(DType::f32, {4});
  const Tensor y = stream->empty(DType::f32, {4});
  stream->call(cann().Silu, x, y);
  const Queue other(stream->device());
  Event done(stream->device());
  done.record(stream->queue());
  done.hold(other);
  PinnedBlock pinned(stream->device(), 16);
  std::memset(pinned.data(), 0, 16);
  ASSERT_EQ(copy_to_device(y, pinned.data(), other), 0);
  EXPECT_NO_THROW(other.synchronize());
}

TEST_F(AscendRuntimeRules, EventsKnowTheirTimeOnceTheyHavePassed) {
  const Tensor x = filled(DType::f32, {4}), y = stream->empty(DType::f32, {4});
  Event begin(stream->device(), true), end(stream->device(), true);
  begin.record(stream->queue());
  stream->queue().synchronize();
  STANDIN(standin_hold)(1);
  for (int i = 0; i < 3; ++i) stream->call(cann().Silu, x, y);
  end.record(stream->queue());
  EXPECT_TRUE(refused("has not passed", [&] { end.seconds_since(begin); }));
  STANDIN(standin_hold)(0);
  end.synchronize();
  EXPECT_NEAR(end.seconds_since(begin), 30e-6, 1e-8);  // 10 us a kernel, by the stand-in's clock
}

/// And only those that were made for it; others take less.
TEST_F(AscendRuntimeRules, EventsWithoutATimeLineKnowNone) {
  Event begin(stream->device()), end(stream->device(), true);
  begin.record(stream->queue());
  end.record(stream->queue());
  end.synchronize();
  EXPECT_TRUE(refused("knows no time", [&] { end.seconds_since(begin); }));
}

TEST_F(AscendRuntimeRules, AQueueDestroyedBeforeItsWorkRanIsFound) {
  const Tensor target = stream->empty(DType::f32, {16});
  PinnedBlock pinned(stream->device(), 64);
  std::memset(pinned.data(), 1, 64);
  void* queue = nullptr;
  ASSERT_EQ(cann().aclrtCreateStream(&queue), 0);
  STANDIN(standin_hold)(1);
  ASSERT_EQ(cann().aclrtMemcpyAsync(target.bytes(), 64, pinned.data(), 64,
                                    ACL_MEMCPY_HOST_TO_DEVICE, queue),
            0);
  cann().aclrtDestroyStream(queue);
  STANDIN(standin_hold)(0);
  EXPECT_NE(violation().find("destroyed before its copy ran"), std::string::npos) << violation();
}

TEST_F(AscendRuntimeRules, AQueueAndMemoryOfAnotherDeviceAreRefused) {
  const Tensor x = filled(DType::f32, {4});
  ASSERT_EQ(cann().aclrtSetDevice(1), 0);
  void* queue = nullptr;
  ASSERT_EQ(cann().aclrtCreateStream(&queue), 0);
  ASSERT_EQ(cann().aclrtSetDevice(0), 0);
  PinnedBlock pinned(stream->device(), 16);
  std::memset(pinned.data(), 0, 16);
  EXPECT_TRUE(fails("another device", cann().aclrtMemcpyAsync(x.bytes(), 16, pinned.data(), 16,
                                                              ACL_MEMCPY_HOST_TO_DEVICE, queue)));
  std::thread([&] {
    ASSERT_EQ(cann().aclrtSetDevice(1), 0);
    EXPECT_TRUE(fails("another device's", cann().aclrtMemcpy(pinned.data(), 16, x.bytes(), 16,
                                                             ACL_MEMCPY_DEVICE_TO_HOST)));
  }).join();
  cann().aclrtDestroyStream(queue);
}

// ---- what the backend does about it
// --------------------------------------------------------------

TEST_F(AscendRuntimeRules, WeightsThatTheIntegerProductDoesNotTakeAreRefused) {
  const auto ops = make_ascend_backend();
  const Tensor w = Tensor::host(DType::f32, {1, 65536});
  const Weight weight = {"layer.weight", DType::f32, w.shape(), w.bytes(), nullptr};
  EXPECT_TRUE(refused("int4 is not supported",
                      [&] { ops->prepare(weight, WeightUse::linear, Quantization::int4); }));
  EXPECT_TRUE(refused("layer.weight [1, 65536] is quantised; expected at most 65535 inputs",
                      [&] { ops->prepare(weight, WeightUse::linear, Quantization::int8); }));
}

/// The card refuses it when it is tried; later, when it would fail the picture, nobody calls it.
TEST_F(AscendRuntimeRules, AFusedNormThatFailsItsTestIsNotUsed) {
  STANDIN(standin_fail)("aclnnGroupNormSiluV2GetWorkspaceSize", 1, 561003);
  const auto ops = make_ascend_backend();
  const Tensor vector = Tensor::host(DType::f32, {4});
  const Weight weight = {"w", DType::f32, vector.shape(), vector.bytes(), nullptr};
  const WeightHandle handle = ops->prepare(weight, WeightUse::vector);
  const Tensor x = ops->upload(Tensor::host(DType::f32, {1, 2, 2, 4}));
  STANDIN(standin_fail)("aclnnGroupNormSiluV2GetWorkspaceSize", 1, 561003);
  EXPECT_NO_THROW(ops->group_norm(x, *handle, *handle, 2, 1e-6f, Activation::none));
  const auto trusting = make_ascend_backend();  // takes the order away
  EXPECT_NO_THROW(trusting->group_norm(x, *handle, *handle, 2, 1e-6f, Activation::none));
}

/// With 8 and 4 bits, rotated and with scales for groups; what they mean is rounded once more.
TEST_F(AscendRuntimeRules, WeightsOfThisProgramsQuantisedFilesAreTaken) {
  const auto ops = make_ascend_backend();
  const Shape shape = {48, 96};
  Tensor plain = Tensor::host(DType::f32, shape), x = Tensor::host(DType::f32, {5, 96});
  for (std::int64_t i = 0; i < plain.size(); ++i)
    plain.data<float>()[i] = std::sin(static_cast<float>(i * i % 1009));
  for (std::int64_t i = 0; i < x.size(); ++i)
    x.data<float>()[i] = std::cos(static_cast<float>(i * i % 887));
  const Weight weight = {"w", DType::f32, shape, plain.bytes(), nullptr};
  for (const WeightFormat format : {WeightFormat::packed_int8, WeightFormat::packed_int4}) {
    const PackedLayout layout(format, shape);
    const auto records = std::make_shared<Tensor>(
        Tensor::host(DType::i8, {static_cast<std::int64_t>(layout.size_bytes())}));
    for (std::int64_t panel = 0; panel < layout.panels; ++panel) {
      pack_panel(layout, weight, panel,
                 records->bytes() + static_cast<std::size_t>(panel) * layout.record_bytes());
    }
    const Weight packed = {"w",    DType::i8,          shape, records->bytes(), records,
                           format, layout.size_bytes()};
    const Tensor y =
        ops->download(ops->linear(ops->upload(x), *ops->prepare(packed, WeightUse::linear)));
    double error = 0, square = 0;
    std::vector<float> row(96);
    for (std::int64_t n = 0; n < shape[0]; ++n) {
      unpack_row(packed, n, row.data());
      for (std::int64_t m = 0; m < 5; ++m) {
        double expected = 0;
        for (std::int64_t k = 0; k < 96; ++k)
          expected += double{x.data<float>()[m * 96 + k]} * row[static_cast<std::size_t>(k)];
        const double off = y.data<float>()[m * 48 + n] - expected;
        error += off * off;
        square += expected * expected;
      }
    }
    EXPECT_LE(error / square, 2.6e-4) << format_name(format);
  }
}

/// Rows of int8 that a file holds are copied: nobody decodes them to quantise them again.
TEST_F(AscendRuntimeRules, WeightsThatWereMadeForTheCardAreCopied) {
  class OnlyCodes final : public WeightDecoder {
   public:
    explicit OnlyCodes(const std::byte* data) : rows_{data, data + 64} {}
    std::string_view name() const override { return "int8_rows"; }
    void decode(std::int64_t, std::int64_t, float*) const override {
      throw std::logic_error("it was decoded");
    }
    std::optional<RowCodes> row_codes() const override { return rows_; }

   private:
    RowCodes rows_;
  };
  std::array<std::byte, 128> bytes{};
  bytes[0] = bytes[33] = std::byte{3};  // rotated: w[n, k] = 3 scale (-1)^popcount(n & k)
  const std::array<float, 2> scales = {0.5f, 2.0f};
  std::memcpy(&bytes[64], scales.data(), sizeof(scales));
  Weight weight = {"w", DType::f32, {2, 32}, bytes.data(), nullptr, WeightFormat::encoded, 128};
  weight.decoder = std::make_shared<OnlyCodes>(bytes.data());
  const auto ops = make_ascend_backend();
  Tensor x = Tensor::host(DType::f32, {1, 32});
  x.data<float>()[1] = 1;
  const Tensor y =
      ops->download(ops->linear(ops->upload(x), *ops->prepare(weight, WeightUse::linear)));
  EXPECT_EQ(y.data<float>()[0], 1.5f);
  EXPECT_EQ(y.data<float>()[1], -6.0f);
  EXPECT_TRUE(refused("--quant int4 is not supported",
                      [&] { ops->prepare(weight, WeightUse::linear, Quantization::int4); }));
}

TEST_F(AscendRuntimeRules, AFaultOfTheQueueIsAnErrorAndNotForgotten) {
  STANDIN(standin_fail)("aclrtSynchronizeStream", 1, 507015);
  EXPECT_TRUE(refused("507015", [&] { stream->queue().synchronize(); }));
  EXPECT_NO_THROW(stream->queue().synchronize());
}

TEST_F(AscendRuntimeRules, AnErrorNamesOperationTypesShapesAndTheDevicesWords) {
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

TEST_F(AscendRuntimeRules, TheSecondOfTwoCallsCanBeOrderedToFail) {
  STANDIN(standin_fail)("aclnnSiluGetWorkspaceSize", 2, 161002);
  const Tensor x = filled(DType::bf16, {2, 3});
  EXPECT_NO_THROW(silu(*stream, x));
  EXPECT_TRUE(refused("161002", [&] { silu(*stream, x); }));
}

TEST_F(AscendRuntimeRules, NothingIsLeftBehind) {
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
