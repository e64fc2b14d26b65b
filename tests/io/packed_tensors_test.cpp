// Packed weights in safetensors files, and every way in which such a file can lie.
#include "io/packed_tensors.h"

#include "core/packed_weight.h"
#include "io/safetensors.h"
#include "io/weight_files.h"
#include "test_files.h"

namespace ernie_image {
namespace {

using test::entry;
using test::expect_error;

// [20, 40] in int8: two panels of 16 outputs; of 64 k 1024 bytes of codes, 32 of scales, 64 of
// sums, 64 of row scales.
constexpr std::size_t kRecord = 1216;
constexpr std::size_t kBytes = 2 * kRecord;

constexpr const char* kVersion = R"("ernie_image.packed":"1")";
constexpr const char* kShape = R"("ernie_image.packed.w":"int8 20 40")";

class PackedTensorsTest : public test::TemporaryFolder {
 protected:
  /// A file whose data begins at a multiple of 64, or `shift` bytes after one.
  void write_file(const std::string& notes, const std::string& shape = "[2,1216]",
                  const std::string& dtype = "U8", std::size_t shift = 0,
                  std::size_t bytes = kBytes) const {
    std::string header = R"({"__metadata__":{)" + notes + "}," +
                         entry("w", dtype, shape, test::offsets(0, bytes)) + "}";
    while ((8 + header.size()) % 64 != shift) header += ' ';
    write("model.safetensors", test::safetensors(header, bytes));
  }
  SafetensorsFile open() const { return SafetensorsFile::open(path("model.safetensors")); }
  void expect_corrupt(const std::vector<std::string>& parts) const {
    expect_error(ErrorKind::corrupt_file, parts, [&] { open(); });
  }
  std::string good() const { return std::string(kVersion) + "," + kShape; }
};

TEST_F(PackedTensorsTest, LayoutOfThisTestIsThatOfTheProgram) {
  EXPECT_EQ(packed_extents(WeightFormat::packed_int8, {20, 40}),
            (Shape{2, static_cast<std::int64_t>(kRecord)}));
}

TEST_F(PackedTensorsTest, IsTheWeightThatItStandsFor) {
  write_file(good());
  const SafetensorsFile file = open();
  const Weight weight = file.weight("w");
  EXPECT_EQ(weight.format, WeightFormat::packed_int8);
  EXPECT_EQ(weight.shape, (Shape{20, 40}));
  EXPECT_EQ(weight.size_bytes(), kBytes);
  EXPECT_EQ(weight.data[257], std::byte{1}) << "mapped, not copied";
  EXPECT_EQ(weight.data, file.stored("w").data);
  EXPECT_EQ(file.tensor("w").size_bytes(), kBytes);
}

TEST_F(PackedTensorsTest, FitsTheShapeOfTheConfigOnly) {
  write_file(good());
  WeightFiles weights(folder_, "model");
  EXPECT_NE(weights.get("w", {20, 40}).data, nullptr);
  for (const Shape& other : {Shape{20}, Shape{2, 1216}, Shape{32, 64}, Shape{20, 41}}) {
    EXPECT_EQ(weights.get("w", other).data, nullptr) << to_string(other);
  }
  expect_error(ErrorKind::corrupt_file, {"w: shape [20, 40], expected [20]"},
               [&] { weights.require_complete(); });
}

TEST_F(PackedTensorsTest, WithoutNotesItIsAPlainTensor) {
  write_file(R"("format":"pt")");
  EXPECT_EQ(open().weight("w").format, WeightFormat::plain);
}

TEST_F(PackedTensorsTest, OtherSizesAreCorrupt) {
  write_file(good(), "[1,1216]", "U8", 0, kRecord);  // a panel is missing
  expect_corrupt({"\"w\"", "U8 [1, 1216]", "expected U8 [2, 1216]", "quantise"});
  write_file(good(), "[2,1152]", "U8", 0, 2304);  // a record of another layout
  expect_corrupt({"U8 [2, 1152]"});
  write_file(good(), "[2432]");
  expect_corrupt({"U8 [2432]"});
  write_file(good(), "[1216,2]");
  expect_corrupt({"U8 [1216, 2]"});
  write_file(good(), "[2,1216]", "I8");
  expect_corrupt({"I8 [2, 1216]"});
}

TEST_F(PackedTensorsTest, DataThatIsNotAlignedIsCorrupt) {
  write_file(good(), "[2,1216]", "U8", 8);
  expect_corrupt({"multiple of 64"});
}

TEST_F(PackedTensorsTest, BothVersionsAreRead) {
  for (const char* version : {"1", "2"}) {
    write_file(R"("ernie_image.packed":")" + std::string(version) + "\"," + kShape, "[2,1216]");
    const Weight weight = open().weight("w");
    EXPECT_EQ(weight.format, WeightFormat::packed_int8) << version;
  }
}

TEST_F(PackedTensorsTest, UnknownVersionsAndFormatsAreCorrupt) {
  write_file(std::string(R"("ernie_image.packed":"3",)") + kShape);
  expect_corrupt({"version \"3\"", "reads versions 1 and 2"});
  write_file(kShape);
  expect_corrupt({"without ernie_image.packed"});
  for (const char* value :
       {"int8", "int8 20", "int8 20 40 1", "int3 20 40", "none 20 40", "INT8 20 40", "",
        "int8 0 40", "int8 -20 40", "int8 20 99999999999999999999", "int8 16777217 40", "int8 20 x",
        "int8 20.5 40"}) {
    write_file(std::string(kVersion) + R"(,"ernie_image.packed.w":")" + value + "\"");
    expect_corrupt({"\"w\"", "expected int8, int4 or int8_rows, then N and K"});
  }
  write_file(std::string(kVersion) + R"(,"ernie_image.packed.w":"int4 20 40")");
  expect_corrupt({"\"w\"", "for int4 20 40"});
}

/// [2, 32]: 64 bytes of codes, two scales, filled up to 64.
TEST_F(PackedTensorsTest, RowsOfInt8AreAnEncodedWeight) {
  const std::string notes = std::string(kVersion) + R"(,"ernie_image.packed.w":"int8_rows 2 32")";
  write_file(notes, "[128]", "U8", 0, 128);
  const SafetensorsFile file = open();
  const Weight weight = file.weight("w");
  EXPECT_EQ(weight.format, WeightFormat::encoded);
  EXPECT_EQ(weight.shape, (Shape{2, 32}));
  EXPECT_EQ(weight.size_bytes(), 128u);
  const auto rows = weight.decoder->row_codes();
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->codes, weight.data) << "mapped, not copied";
  EXPECT_EQ(rows->scales, weight.data + 64);
  write_file(notes, "[64]", "U8", 0, 64);
  expect_corrupt({"\"w\"", "U8 [64]", "expected U8 [128] for int8_rows 2 32"});
  write_file(notes, "[128]", "I8", 0, 128);
  expect_corrupt({"I8 [128]"});
  write_file(notes, "[128]", "U8", 8, 128);
  expect_corrupt({"multiple of 64"});
}

TEST_F(PackedTensorsTest, NotesOnAbsentTensorsAreCorrupt) {
  write_file(good() + R"(,"ernie_image.packed.x":"int8 20 40")");
  expect_corrupt({"\"x\"", "not in the file"});
}

TEST_F(PackedTensorsTest, EveryTruncationIsAnError) {
  write_file(good());
  const std::string whole = test::read_whole(path("model.safetensors"));
  for (std::size_t size = 0; size < whole.size(); size += 61) {
    write("model.safetensors", whole.substr(0, size));
    EXPECT_THROW(open(), Error) << size;
  }
}

}  // namespace
}  // namespace ernie_image
