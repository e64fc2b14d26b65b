// What a hostile header may try, one by one.
#include "io/safetensors_header.h"

#include "test_files.h"

namespace ernie_image {
namespace {

using test::entry;
using test::expect_error;
using test::header_of;

SafetensorsHeader parse(const std::string& json) { return parse_safetensors_header(json, "f.st"); }

void expect_rejected(const std::string& json, const std::string& part) {
  expect_error(ErrorKind::corrupt_file, {"f.st: safetensors header: ", part}, [&] { parse(json); });
}

void expect_entry_rejected(const std::string& dtype, const std::string& shape,
                           const std::string& offsets, const std::string& part) {
  expect_rejected(header_of({entry("a", dtype, shape, offsets)}), part);
}

TEST(SafetensorsHeader, ReadsEntriesAndMetadataInAnyOrder) {
  const SafetensorsHeader header =
      parse(header_of({entry("b", "F32", "[2,3]", "[2,26]"), R"("__metadata__":{"format":"pt"})",
                       R"("a":{"data_offsets":[0,2],"shape":[],"dtype":"BF16"})"}) +
            "   ");
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors.at("b").shape, (Shape{2, 3}));
  EXPECT_EQ(header.tensors.at("b").begin, 2u);
  EXPECT_EQ(header.tensors.at("a").shape, Shape{});
  EXPECT_EQ(header.tensors.at("a").dtype, DType::bf16);
  EXPECT_EQ(header.metadata.at("format"), "pt");
  EXPECT_EQ(header.data_bytes, 26u);
}

TEST(SafetensorsHeader, NoTensorsAreFine) {
  EXPECT_EQ(parse("{}").data_bytes, 0u);
  EXPECT_EQ(parse(R"({"__metadata__":{}})").data_bytes, 0u);
}

TEST(SafetensorsHeader, NullMetadataAreNone) {
  EXPECT_TRUE(parse(R"({"__metadata__":null})").metadata.empty());
}

TEST(SafetensorsHeader, NarrowTypesFillWholeBytes) {
  EXPECT_EQ(parse(header_of({entry("a", "F4", "[2,3]", "[0,3]")})).data_bytes, 3u);
  EXPECT_EQ(parse(header_of({entry("a", "F6_E2M3", "[4]", "[0,3]")})).data_bytes, 3u);
  EXPECT_EQ(parse(header_of({entry("a", "F8_E8M0", "[4]", "[0,4]")})).data_bytes, 4u);
  expect_entry_rejected("F4", "[3]", "[0,2]", "whole bytes");
  expect_entry_rejected("F6_E3M2", "[2]", "[0,2]", "whole bytes");
  expect_entry_rejected("F4", "[4]", "[0,4]", "takes 2 bytes");
}

TEST(SafetensorsHeader, EmptyTensorsTakeNoBytes) {
  const std::string header =
      header_of({entry("a", "F32", "[0,5]", "[0,0]"), entry("b", "U8", "[4]", "[0,4]")});
  EXPECT_EQ(parse(header).data_bytes, 4u);
}

TEST(SafetensorsHeader, RejectsWhatIsNotJson) {
  expect_rejected("", "does not begin with {");
  expect_rejected(" {}", "does not begin with {");
  expect_rejected("[]", "does not begin with {");
  expect_rejected("{", "not valid JSON");
  expect_rejected("{} {}", "not valid JSON");
  expect_rejected("{\"\xff\":{}}", "not valid JSON");
  expect_rejected(std::string("{}\0x", 4), "zero byte");
}

TEST(SafetensorsHeader, RejectsNestingWhereverItIs) {
  const std::string deep = std::string(1'000'000, '[');
  expect_rejected("{\"a\":" + deep, "unexpected place");
  expect_rejected("{\"a\":{\"shape\":[" + deep, "unexpected place");
  expect_rejected("{\"__metadata__\":" + deep, "unexpected place");
  expect_rejected("{\"__metadata__\":{\"a\":{}}}", "unexpected place");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  expect_rejected(objects, "unknown field");
}

TEST(SafetensorsHeader, RejectsDuplicates) {
  const std::string a = entry("a", "U8", "[1]", "[0,1]");
  expect_rejected(header_of({a, a}), "\"a\": occurs twice");
  expect_rejected(R"({"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})",
                  "dtype occurs twice");
  expect_rejected(R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})",
                  "shape occurs twice");
  expect_rejected(R"({"__metadata__":{},"__metadata__":{}})", "occurs twice");
  expect_rejected(R"({"__metadata__":{"k":"1","k":"2"}})", "occurs twice");
}

TEST(SafetensorsHeader, RejectsIncompleteAndUnknownFields) {
  expect_rejected(R"({"a":{}})", "incomplete");
  expect_rejected(R"({"a":{"dtype":"U8","shape":[1]}})", "incomplete");
  expect_rejected(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", "incomplete");
  expect_rejected(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", "incomplete");
  expect_rejected(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})",
                  "unknown field \"x\"");
}

TEST(SafetensorsHeader, RejectsWrongTypesOfValues) {
  expect_rejected(R"({"a":5})", "unexpected place");
  expect_rejected(R"({"a":null})", "null");
  expect_rejected(R"({"a":{"dtype":5}})", "unexpected place");
  expect_rejected(R"({"a":{"dtype":true}})", "boolean");
  expect_rejected(R"({"a":{"shape":"x"}})", "unexpected place");
  expect_rejected(R"({"a":{"shape":[1.0]}})", "1.0");
  expect_rejected(R"({"a":{"shape":["1"]}})", "unexpected place");
  expect_rejected(R"({"__metadata__":{"a":1}})", "unexpected place");
  expect_rejected(R"({"__metadata__":"a"})", "unexpected place");
}

TEST(SafetensorsHeader, RejectsUnknownDtype) {
  expect_entry_rejected("F33", "[1]", "[0,1]", "unknown dtype \"F33\"");
  expect_entry_rejected("f32", "[1]", "[0,4]", "unknown dtype");
  expect_entry_rejected("", "[1]", "[0,1]", "unknown dtype");
}

TEST(SafetensorsHeader, RejectsNegativeAndAbsurdNumbers) {
  expect_entry_rejected("U8", "[-1]", "[0,1]", "negative");
  expect_entry_rejected("U8", "[1]", "[-1,0]", "negative");
  expect_entry_rejected("U8", "[18446744073709551615]", "[0,18446744073709551615]", "absurd");
  expect_entry_rejected("U8", "[99999999999999999999]", "[0,1]", "unexpected place");
  expect_entry_rejected("U8", "[1e3]", "[0,1000]", "1e3");
}

TEST(SafetensorsHeader, RejectsShapesWhoseSizeOverflows) {
  // 2^32 x 2^32 is 0 modulo 2^64: a careless product would accept an empty range.
  expect_entry_rejected("U8", "[4294967296,4294967296]", "[0,0]", "overflows");
  // 2^62 x 8 bytes is 0 modulo 2^64 as well.
  expect_entry_rejected("F64", "[4611686018427387904]", "[0,0]", "overflows");
  expect_entry_rejected("F64", "[2305843009213693953]", "[0,8]", "overflows");
}

TEST(SafetensorsHeader, RejectsHugeRank) {
  std::string ones = "1";
  for (int i = 1; i < 64; ++i) ones += ",1";
  EXPECT_EQ(
      parse(header_of({entry("a", "U8", "[" + ones + "]", "[0,1]")})).tensors.at("a").shape.size(),
      64u);
  expect_entry_rejected("U8", "[" + ones + ",1]", "[0,1]", "more than 64 dimensions");
}

TEST(SafetensorsHeader, RejectsOffsetsThatContradictTheShape) {
  expect_entry_rejected("F32", "[2]", "[0,4]", "takes 8 bytes");
  expect_entry_rejected("F32", "[2]", "[8,0]", "takes 8 bytes");
  expect_entry_rejected("F32", "[]", "[0,0]", "takes 4 bytes");
  expect_entry_rejected("U8", "[1]", "[0]", "incomplete");
  expect_entry_rejected("U8", "[1]", "[0,1,2]", "unexpected place");
  expect_entry_rejected("U8", "[1]", "[18446744073709551615,0]", "takes 1 bytes");
}

TEST(SafetensorsHeader, RejectsOverlapsAndHoles) {
  const std::string first = entry("a", "U8", "[4]", "[0,4]");
  expect_rejected(header_of({first, entry("b", "U8", "[4]", "[2,6]")}), "an overlap");
  expect_rejected(header_of({first, entry("b", "U8", "[4]", "[0,4]")}), "an overlap");
  expect_rejected(header_of({first, entry("b", "U8", "[4]", "[5,9]")}), "a hole");
  expect_rejected(header_of({entry("a", "U8", "[4]", "[1,5]")}), "a hole");
}

TEST(SafetensorsHeader, MessagesQuoteHostileNamesShortAndPrintable) {
  try {
    parse(R"({"\u001b[2J)" + std::string(100'000, 'n') + R"(":5})");
    FAIL();
  } catch (const Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 400u);
    EXPECT_EQ(std::string(error.what()).find('\x1b'), std::string::npos);
  }
}

}  // namespace
}  // namespace ernie_image
