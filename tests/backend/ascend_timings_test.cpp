// Which form attention takes when it may choose: what is timed, what is remembered, what is left
// out.
#include <filesystem>
#include <fstream>

#include "ascend_rules.h"
#include "backend/ascend/attention.h"
#include "backend/card/rehearsed_device.h"
#include "backend/card_network.h"
#include "core/ledger.h"

namespace ernie_image::ascend {
namespace {

namespace fs = std::filesystem;

class TimingsFile {
 public:
  TimingsFile()
      : folder_(fs::temp_directory_path() / ("ernie-image-timings-" + std::to_string(getpid()))) {}
  ~TimingsFile() { fs::remove_all(folder_); }
  TimingsFile(const TimingsFile&) = delete;
  TimingsFile& operator=(const TimingsFile&) = delete;

  std::string path() const { return folder_ / "cache" / "timings.txt"; }
  std::string text() const {
    std::ifstream file(path());
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& text) const {
    fs::create_directories(fs::path(path()).parent_path());
    std::ofstream(path()) << text;
  }

 private:
  fs::path folder_;
};

constexpr const char* kHead = "ernie-image attention timings 1\n";

TEST(AscendTimings, AreMeasuredOnceForAChipACannAndAShape) {
  const TimingsFile file;
  int measured = 0;
  const auto measure = [&] {
    ++measured;
    return FormTimes{{"flash", 1.5}, {"lengths", 0.25}, {"mask", kRefused}};
  };
  {
    AttentionTimings timings(file.path());
    EXPECT_EQ(fastest_of(timings.find_or("910B3", "8.1", "a", measure)), "lengths");
    timings.find_or("910B3", "8.1", "a", measure);
  }
  EXPECT_EQ(measured, 1);
  EXPECT_EQ(file.text(),
            std::string(kHead) + "910B3\t8.1\ta\tflash=1.5\tlengths=0.25\tmask=refused\n");
  AttentionTimings later(file.path());
  EXPECT_EQ(later.find("910B3", "8.1", "a"), measure());
  EXPECT_EQ(later.find("910B3", "8.2", "a"), std::nullopt);
  EXPECT_EQ(later.find("910B4", "8.1", "a"), std::nullopt);
  EXPECT_EQ(later.find("910B3", "8.1", "b"), std::nullopt);
  EXPECT_EQ(fastest_of({{"flash", kRefused}}), "");
}

TEST(AscendTimings, ADamagedFileIsMeasuredAnew) {
  const TimingsFile file;
  for (const std::string& damage :
       {std::string("something else\n"), kHead + std::string("a\tb\tc\n"),
        kHead + std::string("a\tb\tc\tflash\n"), kHead + std::string("a\tb\tc\tflash=-1\n"),
        kHead + std::string("a\tb\tc\tflash=nan\n"), kHead + std::string("a\tb\tc\tflash=1x\n"),
        kHead + std::string(1 << 18, 'x'), std::string(kHead).substr(0, 9)}) {
    file.write(damage);
    AttentionTimings timings(file.path());
    EXPECT_TRUE(timings.lines().empty()) << damage.substr(0, 80);
    timings.find_or("a", "b", "c", [] { return FormTimes{{"flash", 2}}; });
    EXPECT_EQ(file.text(), std::string(kHead) + "a\tb\tc\tflash=2\n");
  }
}

TEST(AscendTimings, AFileThatCannotBeWrittenIsNoError) {
  AttentionTimings timings("/proc/nowhere/timings.txt");
  const auto measure = [] { return FormTimes{{"flash", 2}}; };
  EXPECT_EQ(timings.find_or("a", "b", "c", measure), measure());
  EXPECT_EQ(timings.find("a", "b", "c"), measure());
}

TEST(AscendTimings, TheOldestLinesLeave) {
  AttentionTimings timings("");
  for (int i = 0; i < 300; ++i)
    timings.find_or("a", "b", std::to_string(i), [] { return FormTimes{{"flash", 2}}; });
  EXPECT_EQ(timings.lines().size(), 200u);
  EXPECT_EQ(timings.lines().back().shape, "299");
}

class AscendAutomaticAttention : public AscendRules {
 protected:
  Tensor tokens(std::int64_t batch, std::int64_t rows) {
    return stream->upload(round_to(random_tensor({batch, rows, 2, 16}, 2, 3), DType::bf16));
  }
  std::uint64_t launches() {
    StandinBooks books{};
    STANDIN(standin_books)(0, &books);
    return books.launches;
  }

  AttentionTimings timings{""};
  const AttentionMask padded = {AttentionMask::Kind::key_lengths, {3, 5}};
};

TEST_F(AscendAutomaticAttention, TimesALargeShapeOnceAndTakesTheFastest) {
  if (!cann().FusedInferAttentionScoreV2 || !cann().FlashAttentionScore) GTEST_SKIP() << "one form";
  const Tensor x = tokens(2, 5);
  Attention attention(*stream, AttentionForm::automatic, timings, 1);
  const Tensor timed = attention(x, x, x, padded, 0.5f);
  const std::uint64_t before = launches();
  const Tensor y = attention(x, x, x, padded, 0.5f);
  EXPECT_EQ(launches() - before, 1u);  // the inference operator alone
  const auto lines = timings.lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].chip, "Ascend910B3-standin");
  EXPECT_EQ(lines[0].cann, "8.1.standin");
  EXPECT_EQ(lines[0].shape, "BF16 [2, 5, 2, 16] of [2, 5, 2, 16] padded");
  // By the stand-in's clock, 10 us a kernel: the training operator has four transpositions more.
  EXPECT_EQ(lines[0].times.size(), 3u);
  EXPECT_NEAR(lines[0].times.at("lengths"), 0.01, 1e-6);
  EXPECT_NEAR(lines[0].times.at("mask"), 0.01, 1e-6);
  EXPECT_NEAR(lines[0].times.at("flash"), 0.05, 1e-6);
  const Tensor a = stream->download(timed), b = stream->download(y);
  EXPECT_EQ(std::memcmp(a.bytes(), b.bytes(), a.size_bytes()), 0);
}

TEST_F(AscendAutomaticAttention, SmallShapesAndSingleQueriesAreNotTimed) {
  Attention attention(*stream, AttentionForm::automatic, timings);
  attention(tokens(2, 5), tokens(2, 5), tokens(2, 5), {}, 0.5f);
  Attention eager(*stream, AttentionForm::automatic, timings, 1);
  eager(tokens(2, 1), tokens(2, 5), tokens(2, 5), {}, 0.5f);
  EXPECT_TRUE(timings.lines().empty());
}

TEST_F(AscendAutomaticAttention, AFormThatTheCardRefusesIsLeftOut) {
  if (!cann().FusedInferAttentionScoreV3 || !cann().FlashAttentionScore) GTEST_SKIP() << "one form";
  STANDIN(standin_fail)("aclnnFusedInferAttentionScoreV3GetWorkspaceSize", 1, 561002);
  const Tensor x = tokens(1, 5);
  Attention attention(*stream, AttentionForm::automatic, timings, 1);
  attention(x, x, x, {}, 0.5f);
  const auto lines = timings.lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].times.at("lengths"), kRefused);
  const std::uint64_t before = launches();
  attention(x, x, x, {}, 0.5f);
  EXPECT_EQ(launches() - before, 5u);  // the training operator and its transpositions
}

TEST_F(AscendAutomaticAttention, ARehearsalHoldsWhatTheTimingHolds) {
  const auto peak = [&](Stream& on) {
    const Tensor x = on.empty(DType::bf16, {1, 40, 2, 16});
    Attention attention(on, AttentionForm::automatic, timings, 1);
    attention(x, x, x, {}, 0.5f);
    return on.memory().peak_held_bytes();
  };
  Ledger ledger;
  const HostRehearsal scope(ledger);
  Stream rehearsed(std::make_shared<card::RehearsedDevice>(stream->device(), ledger, 1 << 30),
                   *stream);
  const std::size_t planned = peak(rehearsed);
  EXPECT_TRUE(timings.lines().empty());
  EXPECT_EQ(planned, peak(*stream));
}

}  // namespace
}  // namespace ernie_image::ascend
