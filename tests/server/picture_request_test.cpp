#include "server/image_request.h"

#include <gtest/gtest.h>

#include "server/api_error.h"
#include "server/support.h"

namespace ernie_image {
namespace {

JobRequest request(const nlohmann::json& fields) {
  return picture_request(JsonReader(fields, "body"), {PaintingWorker::info()}, {});
}

/// Status and param of the error.
std::string error_of(const nlohmann::json& fields) {
  try {
    request(fields);
    return "";
  } catch (const std::exception&) {
    const ApiError error = api_error_of(std::current_exception());
    return std::to_string(error.status) + " " + error.param;
  }
}

TEST(ImageRequest, RefusesBodiesThatAreNoObject) {
  for (const std::string body : {"", "[]", "1", "{", "{\"a\":}", "\xff", "{\"a\":\"\xff\"}"}) {
    EXPECT_ANY_THROW(JsonReader::parse(body, "body")) << body;
  }
  EXPECT_ANY_THROW(JsonReader::parse(std::string(1 << 20, '['), "body"));
  EXPECT_ANY_THROW(JsonReader::parse(std::string("{}\0x", 4), "body"));
  EXPECT_NO_THROW(JsonReader::parse("{\"a\":null}", "body"));
}

TEST(ImageRequest, FillsInTheModelsDefaults) {
  const JobRequest made = request({{"prompt", "a cat"}});
  EXPECT_EQ(made.model, "Paint-Turbo");
  EXPECT_EQ(made.width_px, 64);
  EXPECT_EQ(made.num_inference_steps, 4);
  EXPECT_EQ(made.seeds.size(), 1u);
  EXPECT_LE(made.seeds[0], UINT32_MAX);
  EXPECT_EQ(made.image_format, "png");
}

TEST(ImageRequest, ReadsSizesInBothForms) {
  EXPECT_EQ(request({{"size", "128x96"}}).height_px, 96);
  EXPECT_EQ(request({{"size", "auto"}}).height_px, 64);
  EXPECT_EQ(request({{"width", 128}}).width_px, 128);
  EXPECT_EQ(request({{"size", "128x96"}, {"width", 32.0}}).width_px, 32);
  for (const char* size : {"", "64", "x", "64x", "x64", "64X64", "64x64 ", "-64x64", "0x0", "65x64",
                           "99999999999x64", "16384x16384"}) {
    EXPECT_EQ(error_of({{"size", size}}), "400 size") << size;
  }
  EXPECT_EQ(error_of({{"width", 63}}), "400 width");
  EXPECT_EQ(error_of({{"width", "64"}}), "400 width");
  EXPECT_EQ(error_of({{"height", 1e300}}), "400 height");
  EXPECT_EQ(error_of({{"height", 64.5}}), "400 height");
}

TEST(ImageRequest, AsksForVariationsAndFurtherRuns) {
  const JobRequest varied =
      request({{"n", 2}, {"seed", {5, 5}}, {"variation_seed", 7}, {"variation_strength", 0.25}});
  EXPECT_EQ(varied.variation_seeds, (std::vector<std::uint64_t>{7, 8}));
  EXPECT_TRUE(varied.has_given_seeds);
  const JobRequest drawn = request({{"n", 2}, {"seed", 5}, {"variation_strength", 0.25}});
  EXPECT_EQ(drawn.variation_seeds.size(), 2u);
  EXPECT_FALSE(drawn.has_given_seeds);
  EXPECT_TRUE(request({{"variation_strength", 0}, {"variation_seed", 7}}).variation_seeds.empty());
  const JobRequest larger =
      request({{"hires_scale", 2}, {"boxes", {{100, 0, 28, 16}}}, {"strength", 0.3}});
  EXPECT_EQ(larger.hires_scale, 2.0);
  EXPECT_EQ(larger.boxes.at(0).left_px, 100);  // of the larger picture
  EXPECT_EQ(larger.picture.strength, 0.3);
  EXPECT_EQ(pixels_of(larger), 64 * 64 + 128 * 128 + 64 * 64);
  EXPECT_EQ(error_of({{"boxes", {{100, 0, 28, 16}}}}), "400 boxes");
  for (const nlohmann::json& boxes :
       {nlohmann::json(1), nlohmann::json("0,0,8,8"), nlohmann::json{{1, 2, 3}},
        nlohmann::json{{0, 0, 0, 8}}, nlohmann::json{{-1, 0, 8, 8}}, nlohmann::json{{0, 0, 8, 1e9}},
        nlohmann::json(std::vector<std::vector<int>>(17, {0, 0, 8, 8}))}) {
    EXPECT_EQ(error_of({{"boxes", boxes}}), "400 boxes") << boxes;
  }
  EXPECT_EQ(error_of({{"strength", 0.5}}), "400 strength");
  EXPECT_EQ(error_of({{"boxes", {{0, 0, 8, 8}}}, {"strength", 0}}), "400 strength");
  EXPECT_EQ(error_of({{"variation_strength", 2}}), "400 variation_strength");
  EXPECT_EQ(error_of({{"variation_strength", 1}, {"variation_seed", -2}}), "400 variation_seed");
  EXPECT_EQ(error_of({{"hires_scale", 8}, {"width", 1024}, {"height", 1024}}), "400 hires_scale");
  EXPECT_EQ(error_of({{"hires_width", 100}, {"hires_height", 64}}), "400 hires_width");
  EXPECT_EQ(error_of({{"hires_scale", 2}, {"hires_strength", 0}}), "400 hires_strength");
  EXPECT_EQ(error_of({{"hires_scale", 2}, {"hires_steps", 500}}), "400 hires_steps");
}

TEST(ImageRequest, GivesEachImageASeed) {
  using Seeds = std::vector<std::uint64_t>;
  EXPECT_EQ(request({{"seed", 7}, {"n", 3}}).seeds, (Seeds{7, 8, 9}));
  EXPECT_EQ(request({{"seed", {5, 1}}, {"n", 2}}).seeds, (Seeds{5, 1}));
  EXPECT_EQ(request({{"seed", UINT64_MAX}}).seeds, (Seeds{UINT64_MAX}));
  EXPECT_NE(request({{"seed", -1}}).seeds, request({{"seed", -1}}).seeds);
  EXPECT_EQ(error_of({{"seed", {5, 1}}, {"n", 3}}), "400 seed");
  EXPECT_EQ(error_of({{"seed", -2}}), "400 seed");
  EXPECT_EQ(error_of({{"seed", "x"}}), "400 seed");
  EXPECT_EQ(error_of({{"seed", nlohmann::json::array()}}), "400 seed");
  EXPECT_EQ(error_of({{"seed", {nullptr}}}), "400 seed");
  EXPECT_EQ(error_of({{"seed", 1e19}}), "400 seed");
}

TEST(ImageRequest, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(error_of({{"prompt", 1}}), "400 prompt");
  EXPECT_EQ(error_of({{"prompt", std::string(8001, 'a')}}), "400 prompt");
  EXPECT_EQ(error_of({{"prompt", std::string("a\0b", 3)}}), "400 prompt");
  EXPECT_EQ(error_of({{"negative_prompt", {"a"}}}), "400 negative_prompt");
  EXPECT_EQ(error_of({{"n", 0}}), "400 n");
  EXPECT_EQ(error_of({{"n", 11}}), "400 n");
  EXPECT_EQ(error_of({{"n", true}}), "400 n");
  EXPECT_EQ(error_of({{"num_inference_steps", 0}}), "400 num_inference_steps");
  EXPECT_EQ(error_of({{"guidance_scale", -1}}), "400 guidance_scale");
  EXPECT_EQ(error_of({{"guidance_scale", "1"}}), "400 guidance_scale");
  EXPECT_EQ(error_of({{"use_pe", "yes"}}), "400 use_pe");
  EXPECT_EQ(error_of({{"use_pe", true}}), "400 use_pe");  // the model has none
  EXPECT_EQ(error_of({{"output_format", "gif"}}), "400 output_format");
  EXPECT_EQ(error_of({{"output_compression", "high"}}), "400 output_compression");
}

TEST(ImageRequest, FindsModelsByTheirLastNameInAnyCase) {
  EXPECT_EQ(request({{"model", "paint-turbo"}}).model, "Paint-Turbo");
  EXPECT_EQ(request({{"model", "somebody/Paint-Turbo"}}).model, "Paint-Turbo");
  EXPECT_EQ(error_of({{"model", "sdxl"}}), "404 model");
  EXPECT_THROW(picture_request(JsonReader(nlohmann::json::object(), "body"), {}, {}), ApiError);
}

TEST(ImageRequest, TakesTheNamesThatClientsHaveBuiltIn) {
  for (const char* alias : {"dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-2"})
    EXPECT_EQ(request({{"model", alias}}).model, "Paint-Turbo");
}

TEST(ImageRequest, KeepsQualityWithinWhatFormatsHave) {
  for (const auto& [asked, quality] : {std::pair{0, 1}, {-3, 1}, {1, 1}, {55, 55}, {1000, 100}})
    EXPECT_EQ(request({{"output_compression", asked}}).image_quality, quality);
}

TEST(ImageRequest, CountsCharactersRatherThanBytes) {
  std::string prompt;
  for (int i = 0; i < 8000; ++i) prompt += "猫";
  EXPECT_EQ(prompt_of(request({{"prompt", prompt}})), prompt);
}

}  // namespace
}  // namespace ernie_image
