#include "io/gguf.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "gguf_writer.h"
#include "io/gguf_blocks.h"
#include "io/safetensors.h"
#include "io/weight_files.h"
#include "test_files.h"

namespace ernie_image {
namespace {

using test::expect_error;
using test::GgufWriter;

std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// ---- blocks
// --------------------------------------------------------------------------------------

std::string blocks_path() {
  return std::string(ERNIE_IMAGE_TEST_DATA) + "/formats/gguf/blocks.safetensors";
}

/// ggml's own values, equal to the bit.
TEST(GgufBlocks, EveryReadableTypeDecodesToItsValues) {
  const SafetensorsFile file = SafetensorsFile::open(blocks_path());
  int readable = 0, others = 0;
  for (const std::string& name : file.names()) {
    if (!name.ends_with(".values")) continue;
    const std::string type_name = name.substr(0, name.size() - 7);
    const GgufType* type = gguf_type(type_name);
    ASSERT_NE(type, nullptr) << type_name;
    const Tensor bytes = file.tensor(type_name + ".bytes"), values = file.tensor(name);
    ASSERT_EQ(values.size() / type->weights * type->bytes, bytes.size()) << type_name;
    const auto decoder = make_gguf_decoder(*type, bytes.bytes(), values.size());
    if (!decoder->is_readable()) {
      ++others;
      continue;
    }
    ++readable;
    std::vector<float> decoded(static_cast<std::size_t>(values.size()));
    decoder->decode(0, values.size(), decoded.data());
    EXPECT_EQ(std::memcmp(decoded.data(), values.bytes(), values.size_bytes()), 0) << type_name;
    // From any element on.
    for (const std::int64_t begin : {1, 17, 255, 300}) {
      std::vector<float> part(67);
      decoder->decode(begin, 67, part.data());
      EXPECT_EQ(std::memcmp(part.data(), decoded.data() + begin, 67 * sizeof(float)), 0)
          << type_name << " from " << begin;
    }
  }
  EXPECT_EQ(readable, 16);
  EXPECT_EQ(others, 7) << "those of tables";
}

// ---- headers
// -------------------------------------------------------------------------------------

class Gguf : public test::TemporaryFolder {
 protected:
  GgufFile open(const std::string& bytes) const { return GgufFile::open(write("f.gguf", bytes)); }
  void expect_rejected(const std::string& bytes, const std::string& part) const {
    expect_error(ErrorKind::corrupt_file, {"f.gguf: GGUF: ", part}, [&] { open(bytes); });
  }
};

TEST_F(Gguf, ReadsNotesAndTensors) {
  GgufWriter writer;
  writer.text("general.architecture", "mistral3");
  writer.integer("mistral3.block_count", 7);
  writer.note("a.float", 6, writer.number(0.5f));
  writer.note("strings", 9,
              writer.number<std::uint32_t>(8) + writer.number<std::uint64_t>(2) +
                  writer.string("x") + writer.string(std::string(1000, 'y')));
  writer.tensor(std::string(200, 'n'), {3, 2}, 0, floats({1, 2, 3, 4, 5, 6}));
  writer.tensor("scalar", {}, 0, floats({7}));
  writer.tensor("five", {1, 1, 2, 1, 1}, 1, std::string(4, '\0'));
  writer.tensor("none", {0, 5}, 0, "");
  writer.tensor("blocks", {64, 2}, 8, std::string(4 * 34, '\1'));
  const GgufFile file = open(writer.bytes());
  EXPECT_EQ(file.text("general.architecture"), "mistral3");
  EXPECT_EQ(file.integer_of_any(".block_count"), 7);
  EXPECT_EQ(file.number("a.float"), 0.5);
  EXPECT_EQ(file.stored(std::string(200, 'n')).shape, (Shape{2, 3}));
  EXPECT_EQ(file.tensor(std::string(200, 'n')).data<float>()[4], 5);
  EXPECT_EQ(file.stored("scalar").shape, Shape{});
  EXPECT_EQ(file.stored("five").shape, (Shape{1, 1, 2, 1, 1}));
  EXPECT_EQ(file.stored("none").size_bytes(), 0u);
  const Weight& blocks = file.stored("blocks");
  EXPECT_EQ(blocks.format, WeightFormat::encoded);
  EXPECT_EQ(blocks.decoder->name(), "Q8_0");
  EXPECT_EQ(blocks.size_bytes(), 4u * 34);
  EXPECT_EQ(blocks.shape, (Shape{2, 64}));
}

TEST_F(Gguf, BigEndianNumbersAreSwappedBlocksAndBf16AreNot) {
  GgufWriter writer(true);
  writer.integer("x.y", 258);
  writer.tensor("f32", {2}, 0, writer.number(1.5f) + writer.number(-2.0f));
  writer.tensor("f16", {1}, 1, writer.number<std::uint16_t>(0x3e00));
  writer.tensor("bf16", {1}, 30, std::string("\xc0\x3f", 2));
  const GgufFile file = open(writer.bytes());
  EXPECT_EQ(file.integer("x.y"), 258);
  EXPECT_EQ(widened(file.weight("f32")).data<float>()[0], 1.5f);
  EXPECT_EQ(widened(file.weight("f32")).data<float>()[1], -2.0f);
  EXPECT_EQ(widened(file.weight("f16")).data<float>()[0], 1.5f);
  EXPECT_EQ(widened(file.weight("bf16")).data<float>()[0], 1.5f);
}

TEST_F(Gguf, AlignmentIsTheFilesOwn) {
  GgufWriter writer;
  writer.alignment = 8;
  writer.integer("general.alignment", 8);
  writer.tensor("a", {2}, 0, floats({3, 4}));
  EXPECT_EQ(open(writer.bytes()).tensor("a").data<float>()[1], 4);
  for (const std::uint32_t wrong : {0u, 12u, 1u << 30}) {
    GgufWriter other;
    other.integer("general.alignment", wrong);
    expect_rejected(other.bytes(), "general.alignment");
  }
}

TEST_F(Gguf, OriginalShapesAreRestored) {
  GgufWriter writer;
  writer.integers("comfy.gguf.orig_shape.m.w", {2, 3, 1, 1});
  writer.tensor("m.w", {3, 2}, 0, floats({1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(open(writer.bytes()).stored("m.w").shape, (Shape{2, 3, 1, 1}));
  GgufWriter wrong;
  wrong.integers("comfy.gguf.orig_shape.w", {2, -3});
  wrong.tensor("w", {3, 2}, 0, floats({1, 2, 3, 4, 5, 6}));
  expect_rejected(wrong.bytes(), "orig_shape.w");
}

TEST_F(Gguf, RejectsEveryCutOfAFile) {
  GgufWriter writer;
  writer.text("k", "v");
  writer.tensor("a", {32}, 8, std::string(34, '\1'));
  const std::string whole = writer.bytes();
  open(whole);
  for (std::size_t size = 4; size < whole.size(); ++size) {
    EXPECT_THROW(open(whole.substr(0, size)), Error) << size;
  }
}

TEST_F(Gguf, RejectsLengthsAndCountsBeyondTheFile) {
  GgufWriter writer;
  writer.note("k", 8, writer.number(std::uint64_t{1} << 63) + "x");
  expect_rejected(writer.bytes(), "9223372036854775808 bytes");
  GgufWriter tensors;
  tensors.tensor_count = std::uint64_t{1} << 60;
  expect_rejected(tensors.bytes() + std::string(100, '\0'), "tensors");
  GgufWriter notes;
  notes.note_count = std::numeric_limits<std::uint64_t>::max();
  expect_rejected(notes.bytes() + std::string(100, '\0'), "notes");
  GgufWriter array;
  array.note("k", 9, array.number<std::uint32_t>(8) + array.number(std::uint64_t{1} << 62));
  expect_rejected(array.bytes(), "array of");
}

TEST_F(Gguf, RejectsArraysInArraysWithoutEnd) {
  GgufWriter writer;
  std::string value;
  for (int i = 0; i < 1000; ++i)
    value += writer.number<std::uint32_t>(9) + writer.number<std::uint64_t>(1);
  writer.note("k", 9, value);
  expect_rejected(writer.bytes(), "arrays within arrays");
}

TEST_F(Gguf, RejectsWhatTensorsCannotBe) {
  const auto rejected = [&](const std::vector<std::uint64_t>& dims, std::uint32_t type,
                            const std::string& part, std::int64_t offset = -1) {
    GgufWriter writer;
    writer.tensor("a", dims, type, std::string(64, '\0'), offset);
    expect_rejected(writer.bytes(), part);
  };
  rejected({std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 0, "dimension");
  rejected({std::uint64_t{1} << 63}, 0, "dimension");
  rejected({0, std::uint64_t{1} << 61}, 0, "dimension");
  rejected(std::vector<std::uint64_t>(9, 1), 0, "9 dimensions");
  rejected({4}, 4, "type 4");
  rejected({33}, 8, "rows of 33");
  rejected({4}, 0, "cut short", 4096);
  rejected({4}, 0, "alignment", 7);
  rejected({17}, 0, "cut short");
  rejected({4}, 0, "cut short", std::numeric_limits<std::int64_t>::max() / 32 * 32);
}

TEST_F(Gguf, RejectsTwinsAndOverlaps) {
  GgufWriter twins;
  twins.tensor("a", {8}, 0, std::string(32, '\0'));
  twins.tensor("a", {8}, 0, std::string(32, '\0'));
  expect_rejected(twins.bytes(), "occurs twice");
  GgufWriter overlap;
  overlap.tensor("a", {16}, 0, std::string(64, '\0'));
  overlap.tensor("b", {8}, 0, std::string(32, '\0'), 32);
  expect_rejected(overlap.bytes(), "overlaps");
}

TEST_F(Gguf, RejectsOtherVersions) {
  GgufWriter writer;
  writer.version = 1;
  expect_rejected(writer.bytes(), "version 1");
}

/// Bounded by what the file holds, however much it announces.
TEST_F(Gguf, AMillionTensorsAreRead) {
  GgufWriter writer;
  for (int i = 0; i < 200'000; ++i) writer.tensor(std::to_string(i), {0}, 0, "");
  EXPECT_EQ(open(writer.bytes()).names().size(), 200'000u);
}

// ---- components of GGUF
// --------------------------------------------------------------------------

TEST_F(Gguf, SplitFilesAreOne) {
  for (const char* part : {"1", "2"}) {
    GgufWriter writer;
    writer.tensor(std::string("t") + part, {8}, 0, std::string(32, part[0]));
    write(std::string("m-0000") + part + "-of-00002.gguf", writer.bytes());
  }
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const WeightFiles weights(path(name));
    EXPECT_TRUE(weights.contains("t1") && weights.contains("t2")) << name;
  }
  write("n-00001-of-00003.gguf", GgufWriter().bytes());
  expect_error(ErrorKind::not_found, {"2 of 3 parts are missing", "n-00002-of-00003.gguf"},
               [&] { WeightFiles(path("n-00001-of-00003.gguf")); });
}

TEST_F(Gguf, TypesThatCannotBeReadAreNamedWithTheTensor) {
  GgufWriter writer;
  writer.tensor("w", {256, 2}, 16, std::string(132, '\0'));
  WeightFiles weights(write("f.gguf", writer.bytes()));
  weights.get("w", {2, 256});
  expect_error(ErrorKind::corrupt_file, {"w: type IQ2_XXS"}, [&] { weights.require_complete(); });
}

TEST_F(Gguf, RowsOfQueriesAndKeysAreTurnedBack) {
  GgufWriter writer;
  writer.integer("mistral3.attention.key_length", 4);
  writer.tensor("blk.0.attn_norm.weight", {2}, 0, floats({1, 1}));
  // Two heads of four rows; row r of the original holds r.
  writer.tensor("blk.0.attn_q.weight", {1, 8}, 0, floats({0, 2, 1, 3, 4, 6, 5, 7}));
  writer.tensor("blk.0.attn_v.weight", {1, 4}, 0, floats({0, 1, 2, 3}));
  WeightFiles weights(write("f.gguf", writer.bytes()), "", Component::text_encoder);
  const Tensor q = widened(weights.get("language_model.layers.0.self_attn.q_proj.weight", {8, 1}));
  const Tensor v = widened(weights.get("language_model.layers.0.self_attn.v_proj.weight", {4, 1}));
  weights.require_complete();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(q.data<float>()[i], static_cast<float>(i));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(v.data<float>()[i], static_cast<float>(i));
}

TEST_F(Gguf, SecondFactorOfNvfp4Multiplies) {
  GgufWriter writer;
  std::string block(36, '\x22');                // every code is 1
  block.replace(0, 4, std::string(4, '\x38'));  // every scale is 1
  writer.tensor("m.weight", {64, 1}, 40, block);
  writer.tensor("m.scale", {1}, 0, floats({0.25f}));
  WeightFiles weights(write("f.gguf", writer.bytes()));
  const Tensor values = widened(weights.get("m.weight", {1, 64}));
  for (int i = 0; i < 64; ++i) EXPECT_EQ(values.data<float>()[i], 0.25f);
  EXPECT_TRUE(weights.unused().empty());
}

}  // namespace
}  // namespace ernie_image
