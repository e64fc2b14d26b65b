#include "io/weight_files.h"

#include <cstring>
#include <filesystem>

#include "test_files.h"

namespace ernie_image {
namespace {

using test::entry;
using test::expect_error;
using test::header_of;
using test::safetensors;

class WeightFilesTest : public test::TemporaryFolder {
 protected:
  /// One byte a tensor.
  void write_shard(const std::string& file, const std::vector<std::string>& names) const {
    std::vector<std::string> entries;
    for (std::size_t i = 0; i < names.size(); ++i) {
      entries.push_back(entry(names[i], "U8", "[1]", test::offsets(i, i + 1)));
    }
    write(file, safetensors(header_of(entries), names.size()));
  }
  void write_index(const std::string& weight_map) const {
    write("model.safetensors.index.json",
          R"({"metadata":{"total_size":3},"weight_map":)" + weight_map + "}");
  }
  void write_shards() const {
    write_shard("m-1.safetensors", {"a", "b"});
    write_shard("m-2.safetensors", {"c"});
  }
  WeightFiles open() const { return WeightFiles(folder_, "model"); }
  void expect_rejected(ErrorKind kind, const std::vector<std::string>& parts) const {
    expect_error(kind, parts, [&] { open(); });
  }
};

constexpr const char* kGoodMap =
    R"({"a":"m-1.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"})";

TEST_F(WeightFilesTest, OpensASingleFile) {
  write_shard("model.safetensors", {"a", "b"});
  const WeightFiles weights = open();
  EXPECT_TRUE(weights.contains("a"));
  EXPECT_FALSE(weights.contains("c"));
  EXPECT_EQ(weights.files().size(), 1u);
}

/// Each library's own order, where a folder holds both.
TEST_F(WeightFilesTest, ChoosesBetweenAFileAndAnIndexAsTheReferenceDoes) {
  write_shards();
  write_index(kGoodMap);
  write_shard("model.safetensors", {"single"});
  const WeightFiles of_transformers = open();
  EXPECT_TRUE(of_transformers.contains("single"));
  EXPECT_EQ(of_transformers.ignored_files(),
            (std::vector<std::string>{"m-1.safetensors", "m-2.safetensors"}));

  const std::string stem = "diffusion_pytorch_model";
  std::filesystem::rename(path("model.safetensors"), path(stem + ".safetensors"));
  std::filesystem::rename(path("model.safetensors.index.json"),
                          path(stem + ".safetensors.index.json"));
  const WeightFiles of_diffusers(folder_, stem);
  EXPECT_TRUE(of_diffusers.contains("a"));
  EXPECT_FALSE(of_diffusers.contains("single"));
  EXPECT_EQ(of_diffusers.ignored_files(), (std::vector<std::string>{stem + ".safetensors"}));

  std::filesystem::remove(path(stem + ".safetensors.index.json"));
  EXPECT_TRUE(WeightFiles(folder_, stem).contains("single"));
}

/// All of safetensors 0.8, beside the one weight that is asked for.
TEST_F(WeightFilesTest, AnUnusedTensorOfAnyTypeRefusesNothing) {
  const std::pair<const char*, std::size_t> types[] = {
      {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
      {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
      {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
      {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
      {"I64", 64},        {"U64", 64}};
  std::vector<std::string> entries = {entry("weight", "F32", "[4]", test::offsets(0, 16))};
  std::size_t end = 16;
  for (const auto& [name, bits] : types) {
    entries.push_back(
        entry(std::string("unused.") + name, name, "[4]", test::offsets(end, end + bits / 2)));
    end += bits / 2;
  }
  write("model.safetensors", safetensors(header_of(entries), end));
  WeightFiles weights = open();
  EXPECT_EQ(weights.get("weight", {4}).dtype, DType::f32);
  weights.require_complete();
  EXPECT_EQ(weights.unused().size(), std::size(types));
}

TEST_F(WeightFilesTest, OpensShardsThroughTheIndex) {
  write_shards();
  write_index(kGoodMap);
  const WeightFiles weights = open();
  ASSERT_EQ(weights.all().size(), 3u);
  EXPECT_EQ(weights.all()[2].name, "c");
  EXPECT_EQ(weights.files().size(), 2u);
  weights.release_pages();
  EXPECT_EQ(weights.all()[1].data[0], std::byte{1});
}

TEST_F(WeightFilesTest, AbsentWeightsAreNotFound) {
  expect_rejected(ErrorKind::not_found, {folder_, "model.safetensors", "index.json"});
}

TEST_F(WeightFilesTest, EveryMissingShardIsNamed) {
  write_index(kGoodMap);
  expect_rejected(ErrorKind::not_found,
                  {"2 of 2", "m-1.safetensors", "m-2.safetensors", "download"});
}

TEST_F(WeightFilesTest, ShardsMayNotLeaveTheFolder) {
  for (const char* name : {"../x.safetensors", "/etc/passwd", "..", ".", "", "a/b.safetensors",
                           "a\\\\b", "x\\u0000.safetensors"}) {
    write_index(std::string(R"({"a":")") + name + "\"}");
    expect_rejected(ErrorKind::corrupt_file, {"weight_map", "same folder"});
  }
}

TEST_F(WeightFilesTest, IndexOfAnotherFormIsCorrupt) {
  for (const char* map : {"5", "[]", "null", R"({"a":5})", R"({"a":null})", R"({"a":["x"]})"}) {
    write_index(map);
    expect_rejected(ErrorKind::corrupt_file, {"weight_map"});
  }
  write("model.safetensors.index.json", "[]");
  expect_rejected(ErrorKind::corrupt_file, {"weight_map"});
  write("model.safetensors.index.json", "{}");
  expect_rejected(ErrorKind::corrupt_file, {"weight_map"});
  write("model.safetensors.index.json", "version https://git-lfs.github.com/spec/v1\n");
  expect_rejected(ErrorKind::corrupt_file, {"git-lfs"});
}

TEST_F(WeightFilesTest, IndexAndShardsMustAgree) {
  write_shards();
  write_index(R"({"a":"m-1.safetensors","c":"m-2.safetensors"})");
  expect_rejected(ErrorKind::corrupt_file, {"\"b\"", "does not list it"});
  write_index(
      R"({"a":"m-1.safetensors","b":"m-1.safetensors","c":"m-2.safetensors","d":"m-2.safetensors"})");
  expect_rejected(ErrorKind::corrupt_file, {"\"d\"", "is not in"});
  write_index(R"({"a":"m-1.safetensors","b":"m-2.safetensors","c":"m-2.safetensors"})");
  expect_rejected(ErrorKind::corrupt_file, {"\"b\"", "the index says \"m-2.safetensors\""});
}

TEST_F(WeightFilesTest, TensorInTwoShardsIsCorrupt) {
  write_shard("m-1.safetensors", {"a", "b"});
  write_shard("m-2.safetensors", {"c", "a"});
  write_index(kGoodMap);
  expect_rejected(ErrorKind::corrupt_file, {"\"a\"", "m-2.safetensors"});
}

class WeightAccessTest : public WeightFilesTest {
 protected:
  WeightAccessTest() {
    write("model.safetensors", safetensors(header_of({entry("linear", "F32", "[2,3]", "[0,24]"),
                                                      entry("conv", "BF16", "[2,3,1,1]", "[24,36]"),
                                                      entry("count", "I64", "[]", "[36,44]"),
                                                      entry("half", "F16", "[1]", "[44,46]")}),
                                           46));
  }
};

TEST_F(WeightAccessTest, GivesWeightsOfTheExpectedShape) {
  WeightFiles weights = open();
  const Weight weight = weights.get("linear", {2, 3});
  ASSERT_NE(weight.data, nullptr);
  EXPECT_EQ(weight.dtype, DType::f32);
  EXPECT_EQ(std::memcmp(weight.data, "\0\1\2\3", 4), 0);
  EXPECT_NO_THROW(weights.require_complete());
}

TEST_F(WeightAccessTest, OneByOneConvolutionIsALinearLayer) {
  WeightFiles weights = open();
  const Weight as_linear = weights.get("conv", {2, 3});
  ASSERT_NE(as_linear.data, nullptr);
  EXPECT_EQ(as_linear.shape, (Shape{2, 3}));
  EXPECT_NE(weights.get("conv", {2, 3, 1, 1}).data, nullptr);
  for (const Shape& wrong : {Shape{3, 2}, Shape{6}, Shape{2, 3, 1}, Shape{2, 3, 1, 1, 1}}) {
    EXPECT_EQ(weights.get("conv", wrong).data, nullptr) << to_string(wrong);
  }
  EXPECT_EQ(weights.get("linear", {2, 3, 1, 1}).data, nullptr) << "not the other way round";
}

TEST_F(WeightAccessTest, OneErrorNamesEveryProblem) {
  WeightFiles weights = open();
  EXPECT_EQ(weights.get("absent", {5}).data, nullptr);
  EXPECT_EQ(weights.get("linear", {3, 2}).data, nullptr);
  EXPECT_EQ(weights.get("count", {}).data, nullptr);
  expect_error(ErrorKind::corrupt_file,
               {folder_, "3 weights", "absent: missing, expected shape [5]",
                "linear: shape [2, 3], expected [3, 2]", "count: type I64, expected F32"},
               [&] { weights.require_complete(); });
}

TEST_F(WeightAccessTest, LongListsOfProblemsAreCut) {
  WeightFiles weights = open();
  for (int i = 0; i < 500; ++i) weights.get("missing." + std::to_string(i), {1});
  expect_error(ErrorKind::corrupt_file, {"500 weights", "missing.19:", "and 480 more"},
               [&] { weights.require_complete(); });
}

TEST_F(WeightAccessTest, UnusedAreThoseNobodyAskedFor) {
  WeightFiles weights = open();
  weights.get("linear", {2, 3});
  weights.contains("half");
  EXPECT_EQ(weights.unused(), (std::vector<std::string>{"conv", "count", "half"}));
}

TEST(WeightFilesGolden, ShardedReferenceModelIsComplete) {
  const std::string model = std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_b";
  if (!directory_exists(model)) GTEST_SKIP() << "no reference data in " << model;
  EXPECT_EQ(WeightFiles(model + "/vae", "diffusion_pytorch_model").files().size(), 8u);
  EXPECT_EQ(WeightFiles(model + "/transformer", "diffusion_pytorch_model").files().size(), 2u);
  EXPECT_EQ(WeightFiles(model + "/text_encoder", "model").files().size(), 2u);
}

}  // namespace
}  // namespace ernie_image
