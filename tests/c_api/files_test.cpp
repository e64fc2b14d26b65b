// Texts, files, metrics and quantised folders through the C API.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "c_api_fixture.h"
#include "ernie_image/c.h"

using namespace c_api_test;

namespace {

std::int32_t stop_at_once(void*, const char*) { return 1; }

std::int32_t append_text(void* user_data, const char* piece) {
  static_cast<std::string*>(user_data)->append(piece);
  return 0;
}

TEST(CApi, EnhancesAPromptPieceByPiece) {
  std::string told;
  ernie_image_enhance_options options = {};
  options.struct_size = sizeof options;
  options.temperature = -1;  // greedy
  options.max_tokens = 8;
  options.on_text = append_text;
  options.user_data = &told;
  ernie_image_text* const text =
      ernie_image_enhance(embedded(), "a cat", 64, 64, &options, nullptr);
  ASSERT_NE(text, nullptr);
  EXPECT_FALSE(told.empty());
  EXPECT_NE(told.find(ernie_image_text_get(text)), std::string::npos);
  ernie_image_text_free(text);
  options.on_text = stop_at_once;
  Said said;
  EXPECT_EQ(ernie_image_enhance(embedded(), "a cat", 0, 0, &options, &said.error), nullptr);
  EXPECT_EQ(said.status(), ERNIE_IMAGE_CANCELLED);
  options.top_p = 2;
  Said refused;
  EXPECT_EQ(ernie_image_enhance(embedded(), "a cat", 0, 0, &options, &refused.error), nullptr);
  EXPECT_NE(refused.message().find("top_p"), std::string::npos);
}

TEST(CApi, TokenizesThereAndBack) {
  ernie_image_tokenizer* const tokenizer =
      ernie_image_tokenizer_open("embedded:emoji-tiny", nullptr);
  ASSERT_NE(tokenizer, nullptr);
  std::vector<std::int32_t> ids(2);
  const std::int64_t count =
      ernie_image_tokenizer_encode(tokenizer, "a red apple", ids.data(), ids.size(), nullptr);
  ASSERT_GT(count, 2);
  ids.resize(static_cast<std::size_t>(count));
  EXPECT_EQ(ernie_image_tokenizer_encode(tokenizer, "a red apple", ids.data(), ids.size(), nullptr),
            count);
  ernie_image_text* const text =
      ernie_image_tokenizer_decode(tokenizer, ids.data(), ids.size(), nullptr);
  EXPECT_STREQ(ernie_image_text_get(text), "a red apple");
  ernie_image_text_free(text);
  ernie_image_tokenizer_free(tokenizer);
}

TEST(CApi, SavesReadsAndComparesPictures) {
  const auto folder = std::filesystem::temp_directory_path() / ("c_api" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  const std::string path = folder / "a.png";
  SmallRequest request;
  ernie_image_result* const drawn = ernie_image_generate(embedded(), &request.c, nullptr);
  ASSERT_EQ(ernie_image_result_save(drawn, 0, path.c_str(), nullptr), ERNIE_IMAGE_OK);
  ernie_image_result* const read = ernie_image_read_image(path.c_str(), nullptr);
  EXPECT_EQ(pixels_of(read), pixels_of(drawn));
  Said none;
  EXPECT_EQ(ernie_image_read_text(path.c_str(), "ernie_image", &none.error), nullptr);
  EXPECT_EQ(none.status(), ERNIE_IMAGE_NOT_FOUND);

  ernie_image_image a = {sizeof a, 0, 0, nullptr};
  ASSERT_EQ(ernie_image_result_image(drawn, 0, &a, nullptr), ERNIE_IMAGE_OK);
  std::vector<std::uint8_t> changed(a.rgb, a.rgb + 16 * 16 * 3);
  changed[0] = static_cast<std::uint8_t>(changed[0] ^ 0x80);
  const ernie_image_image b = {sizeof b, 16, 16, changed.data()};
  ernie_image_metrics metrics = {};
  metrics.struct_size = sizeof metrics;
  ASSERT_EQ(ernie_image_compare(&a, &b, &metrics, nullptr), ERNIE_IMAGE_OK);
  EXPECT_EQ(metrics.max_absolute_difference, 128);
  EXPECT_LT(metrics.ssim, 1);
  ASSERT_EQ(ernie_image_compare(&a, &a, &metrics, nullptr), ERNIE_IMAGE_OK);
  EXPECT_TRUE(std::isinf(metrics.psnr_db));
  const ernie_image_image smaller = {sizeof smaller, 8, 16, changed.data()};
  EXPECT_EQ(ernie_image_compare(&a, &smaller, &metrics, nullptr), ERNIE_IMAGE_INVALID_ARGUMENT);
  ernie_image_result_free(read);
  ernie_image_result_free(drawn);
  std::filesystem::remove_all(folder);
}

std::int32_t stop_bytes(void*, std::uint64_t, std::uint64_t) { return 1; }

TEST(CApi, QuantizesAModelFolder) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("c_api_q" + std::to_string(getpid()));
  const std::string output = folder.string();
  ernie_image_quantize_options options = {};
  options.struct_size = sizeof options;
  options.model = ERNIE_IMAGE_TEST_DATA "/reference/models/tiny_a";
  options.output = output.c_str();
  options.on_progress = stop_bytes;
  EXPECT_EQ(ernie_image_quantize(&options, nullptr), ERNIE_IMAGE_CANCELLED);
  options.on_progress = nullptr;
  Said said;
  EXPECT_EQ(ernie_image_quantize(&options, &said.error), ERNIE_IMAGE_OK) << said.message();
  EXPECT_TRUE(std::filesystem::exists(folder / "model_index.json"));
  options.quantization = "int9";
  EXPECT_EQ(ernie_image_quantize(&options, nullptr), ERNIE_IMAGE_INVALID_ARGUMENT);
  std::filesystem::remove_all(folder);
}

}  // namespace
