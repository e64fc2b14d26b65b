#include "io/safetensors.h"

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>

#include "test_files.h"

namespace ernie_image {
namespace {

using test::entry;
using test::expect_error;
using test::header_of;
using test::safetensors;

class SafetensorsTest : public test::TemporaryFolder {
 protected:
  SafetensorsFile open(std::string_view content) const {
    return SafetensorsFile::open(write("a.safetensors", content));
  }
  void expect_rejected(std::string_view content, const std::vector<std::string>& parts) const {
    expect_error(ErrorKind::corrupt_file, parts, [&] { open(content); });
  }
};

TEST_F(SafetensorsTest, ReadsEveryDtypeOfTheFormat) {
  std::vector<std::string> entries;
  std::size_t offset = 0;
  for (const DType dtype : {DType::f64, DType::i64, DType::u64, DType::f32, DType::i32, DType::u32,
                            DType::f16, DType::bf16, DType::i16, DType::u16, DType::f8_e4m3,
                            DType::f8_e5m2, DType::i8, DType::u8, DType::boolean}) {
    const std::string name(dtype_name(dtype));
    const std::size_t end = offset + 2 * size_of(dtype);
    entries.push_back(entry(name, name, "[2]", test::offsets(offset, end)));
    offset = end;
  }
  const SafetensorsFile file = open(safetensors(header_of(entries), offset));
  ASSERT_EQ(file.names().size(), 15u);
  for (const std::string& name : file.names()) {
    const Weight weight = file.weight(name);
    EXPECT_EQ(dtype_name(weight.dtype), name);
    EXPECT_EQ(weight.size_bytes(), 2 * size_of(weight.dtype));
    EXPECT_EQ(std::memcmp(file.tensor(name).bytes(), weight.data, weight.size_bytes()), 0);
  }
  EXPECT_EQ(file.tensor("F64").bytes()[0], std::byte{0});
  EXPECT_EQ(file.tensor("BOOL").bytes()[1], std::byte(offset - 1));
}

TEST_F(SafetensorsTest, RoundTripKeepsValuesShapesAndNotes) {
  const std::vector<float> values = {1.5f, -2.0f, 0.25f, 3e38f, -0.0f, 7.0f};
  const std::vector<std::uint8_t> pixels = {1, 2, 3};
  const std::string file_path = path("out.safetensors");
  write_safetensors(file_path,
                    {{"pixels", Tensor::copy_of<std::uint8_t>(DType::u8, {3}, pixels)},
                     {"图.a", Tensor::copy_of<float>(DType::f32, {2, 3}, values)},
                     {"empty", Tensor::host(DType::bf16, {0, 4})}},
                    {{"seed", "42"}});
  const SafetensorsFile file = SafetensorsFile::open(file_path);
  EXPECT_EQ(file.names(), (std::vector<std::string>{"empty", "pixels", "图.a"}));
  const Tensor tensor = file.tensor("图.a");
  EXPECT_EQ(tensor.shape(), (Shape{2, 3}));
  EXPECT_EQ(std::memcmp(tensor.bytes(), values.data(), tensor.size_bytes()), 0);
  EXPECT_EQ(file.tensor("pixels").span<std::uint8_t>()[2], 3);
  EXPECT_EQ(file.tensor("empty").size(), 0);
  EXPECT_EQ(file.metadata().at("seed"), "42");
  // Larger types first and a padded header: nothing has to be copied on reading.
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.stored("图.a").data) % 8, 0u);
}

TEST_F(SafetensorsTest, WriterRejectsNamesThatCannotBeRead) {
  const Tensor tensor = Tensor::host(DType::u8, {1});
  const auto write_named = [&](const std::vector<std::string>& names) {
    std::vector<std::pair<std::string, Tensor>> tensors;
    for (const std::string& name : names) tensors.emplace_back(name, tensor);
    write_safetensors(path("out"), tensors);
  };
  expect_error(ErrorKind::invalid_argument, {"second tensor", "\"a\""}, [&] {
    write_named({"a", "b", "a"});
  });
  expect_error(ErrorKind::invalid_argument, {"__metadata__"},
               [&] { write_named({"__metadata__"}); });
  expect_error(ErrorKind::invalid_argument, {"UTF-8"}, [&] { write_named({"\xff"}); });
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(SafetensorsTest, UnalignedTensorsComeAsAlignedCopies) {
  const std::string header =
      header_of({entry("byte", "U8", "[1]", "[0,1]"), entry("x", "F32", "[2]", "[1,9]")});
  const SafetensorsFile file = open(safetensors(header, 9));
  Weight weight = file.weight("x");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(weight.data) % 4, 0u);
  EXPECT_EQ(std::memcmp(weight.data, "\1\2\3\4\5\6\7\10", 8), 0);
}

TEST_F(SafetensorsTest, WeightOutlivesItsFile) {
  Weight weight;
  { weight = open(safetensors(header_of({entry("x", "U8", "[4]", "[0,4]")}), 4)).weight("x"); }
  EXPECT_EQ(std::memcmp(weight.data, "\0\1\2\3", 4), 0);
}

TEST_F(SafetensorsTest, AbsentTensorIsNotFound) {
  const SafetensorsFile file = open(safetensors("{}", 0));
  EXPECT_FALSE(file.contains("x"));
  expect_error(ErrorKind::not_found, {"a.safetensors", "\"x\""}, [&] { file.weight("x"); });
  expect_error(ErrorKind::not_found, {"\"x\""}, [&] { file.tensor("x"); });
}

TEST_F(SafetensorsTest, TruncatedDownloadTellsBothSizes) {
  const std::string whole = safetensors(header_of({entry("x", "U8", "[100]", "[0,100]")}), 100);
  const std::string cut = whole.substr(0, whole.size() - 30);
  expect_rejected(cut, {"cut short", "expected " + std::to_string(whole.size()),
                        "found " + std::to_string(cut.size()), "download it again"});
}

TEST_F(SafetensorsTest, EveryTruncationIsAnError) {
  const std::string whole = safetensors(header_of({entry("x", "F32", "[2]", "[0,8]")}), 8);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    expect_error(ErrorKind::corrupt_file, {"a.safetensors"}, [&] { open(whole.substr(0, size)); });
  }
}

TEST_F(SafetensorsTest, BytesAfterTheLastTensorAreAnError) {
  expect_rejected(safetensors(header_of({entry("x", "U8", "[4]", "[0,4]")}), 5),
                  {"after the last tensor"});
  expect_rejected(safetensors("{}", 1), {"after the last tensor"});
}

TEST_F(SafetensorsTest, RejectsOffsetPastEndOfFile) {
  expect_rejected(
      safetensors(header_of({entry("x", "U8", "[4611686018427387903]", "[0,4611686018427387903]")}),
                  4),
      {"cut short", "found"});
}

TEST_F(SafetensorsTest, HeaderLengthIsChecked) {
  expect_rejected(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10),
                  {"not a safetensors file"});
  expect_rejected(std::string("\x10\0\0\0\0\0\0\0{}", 10),
                  {"cut short within the header", "expected at least 24 bytes", "found 10"});
  for (const int length : {3, 8, 10}) {  // more than is there, by less than the length itself takes
    expect_rejected(static_cast<char>(length) + std::string("\0\0\0\0\0\0\0{}", 9),
                    {"cut short within the header"});
  }
  expect_rejected(std::string("\0\0\0\0\0\0\0\0", 8), {"does not begin with {"});
  expect_rejected("1234567", {"only 7 bytes"});
  expect_rejected("", {"empty"});
  // 100,000,001 with as many bytes in the (sparse) file: refused for its length alone.
  const std::string file = write("big", std::string("\x01\xe1\xf5\x05\0\0\0\0", 8));
  ASSERT_EQ(::truncate(file.c_str(), 200'000'000), 0);
  expect_error(ErrorKind::corrupt_file, {"100000001"}, [&] { SafetensorsFile::open(file); });
}

TEST_F(SafetensorsTest, WhatDownloadsLeaveBehindIsNamed) {
  expect_rejected("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 16060522240\n",
                  {"git-lfs pointer", "16060522240 bytes", "git lfs pull"});
  expect_rejected("<!DOCTYPE html><html><body>404</body></html>", {"web page", "download again"});
  expect_rejected("\n  <HTML>", {"web page"});
  expect_rejected("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", {"web page"});
}

TEST_F(SafetensorsTest, HugeFileOpensWithoutTouchingItsData) {
  constexpr std::size_t kData = std::size_t{24} << 30;
  const std::string header =
      header_of({entry("x", "BF16", "[12884901888]", test::offsets(0, kData))});
  const std::string file_path = write("huge.safetensors", safetensors(header, 0));
  if (::truncate(file_path.c_str(), static_cast<off_t>(8 + header.size() + kData)) != 0) {
    GTEST_SKIP() << "no sparse files here";
  }
  const std::size_t before = resident_memory().file_bytes;
  const SafetensorsFile file = SafetensorsFile::open(file_path);
  EXPECT_EQ(file.stored("x").size_bytes(), kData);
  constexpr std::size_t kSlack = std::size_t{8} << 20;  // pages of the program's own code
  EXPECT_LT(resident_memory().file_bytes, before + kSlack);
}

TEST(SafetensorsGolden, EveryReferenceFileIsReadWhole) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(ERNIE_IMAGE_TEST_DATA) / "reference";
  if (!fs::is_directory(folder)) GTEST_SKIP() << "no reference data in " << folder;
  int files = 0;
  for (const auto& found : fs::recursive_directory_iterator(folder)) {
    if (found.path().extension() != ".safetensors") continue;
    const SafetensorsFile file = SafetensorsFile::open(found.path().string());
    std::size_t bytes = 8 + file.header().size();
    for (const std::string& name : file.names()) bytes += file.stored(name).size_bytes();
    EXPECT_EQ(bytes, fs::file_size(found.path())) << found.path();
    ++files;
  }
  EXPECT_GT(files, 0);
}

}  // namespace
}  // namespace ernie_image
