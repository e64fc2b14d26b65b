#include "common/image_record.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "backend/registry.h"
#include "common/picture_input.h"

namespace ernie_image {
namespace {

using nlohmann::json;

ImageRecord example() {
  ModelInfo info;
  info.name = "emoji-tiny";
  info.content_hash = "abc123";
  LoadOptions load;
  load.precision = Precision::bf16;
  load.cpu_kernels = "portable";
  load.memory_limit_bytes = std::uint64_t{6} << 30;
  Request request;
  request.prompts = {"a red apple", "熊猫\nin two lines"};
  request.negative_prompts = {"blurry", "dark"};
  request.height_px = 64;
  request.width_px = 96;
  request.num_inference_steps = 8;
  request.guidance_scale = 4.5;
  request.num_images_per_prompt = 2;
  request.seeds = {1, 2, 3, ~std::uint64_t{0}};
  return make_image_record(info, load, request);
}

json example_json() { return json::parse(image_metadata(example()).at(kRecordChunk)); }

TEST(ImageRecord, SurvivesTheTripThroughItsChunk) {
  ImageRecord record = example();
  record.image_index = 3;
  record.latents_sha256 = "feed";
  const ImageRecord read = parse_image_record("a.png", image_metadata(record).at(kRecordChunk));
  EXPECT_EQ(read.version, version());
  EXPECT_EQ(read.model_name, "emoji-tiny");
  EXPECT_EQ(read.model_content_hash, "abc123");
  EXPECT_EQ(read.load.precision, Precision::bf16);
  EXPECT_EQ(read.load.device, "cpu");
  EXPECT_EQ(read.load.cpu_kernels, "portable");
  EXPECT_EQ(read.load.memory_limit_bytes, std::uint64_t{6} << 30);
  EXPECT_EQ(read.request.prompts, record.request.prompts);
  EXPECT_EQ(read.request.negative_prompts, record.request.negative_prompts);
  EXPECT_EQ(read.request.height_px, 64);
  EXPECT_EQ(read.request.width_px, 96);
  EXPECT_EQ(read.request.num_inference_steps, 8);
  EXPECT_EQ(read.request.guidance_scale, 4.5);
  EXPECT_EQ(read.request.num_images_per_prompt, 2);
  EXPECT_EQ(read.request.seeds, record.request.seeds);
  EXPECT_EQ(read.image_index, 3);
  EXPECT_EQ(read.latents_sha256, "feed");
}

TEST(ImageRecord, KeepsWhatAPictureWasMadeFrom) {
  Request request = example().request;
  request.picture = {{1, 1, {1, 2, 3}}, 0.25, StrengthMode::exact};
  ImageRecord record = make_image_record({}, {}, request);
  record.picture.handling = {Fit::pad, 2.5, true};
  const std::string text = image_metadata(record).at(kRecordChunk);
  EXPECT_EQ(json::parse(text)["image"]["resize"], "fit");
  const ImageRecord read = parse_image_record("a.png", text);
  EXPECT_EQ(read.picture.sha256, picture_hash(request.picture.image));
  EXPECT_EQ(read.request.picture.strength, 0.25);
  EXPECT_EQ(read.request.picture.strength_mode, StrengthMode::exact);
  EXPECT_EQ(read.picture.handling.fit, Fit::pad);
  EXPECT_EQ(read.picture.mask_sha256, "");
  EXPECT_TRUE(read.request.picture.image.rgb.empty());
}

/// Programs that rewrite a PNG lose or damage what is not Latin-1.
TEST(ImageRecord, IsAsciiAlone) {
  const std::string text = image_metadata(example()).at(kRecordChunk);
  for (const char c : text) EXPECT_TRUE(c >= ' ' && c <= '~') << text;
  EXPECT_NE(text.find("\\u718a\\u732b"), std::string::npos) << text;
}

TEST(ImageRecord, QuotesValuesAsA1111Does) {
  ImageRecord record = example();
  const auto parameters = [&](const std::string& name) {
    record.model_name = name;
    return image_metadata(record).at(kParametersChunk);
  };
  EXPECT_NE(parameters("a/b-1.0").find(", Model: a/b-1.0, Version: "), std::string::npos);
  EXPECT_NE(parameters("v1, final: \"x\"").find(", Model: \"v1, final: \\\"x\\\"\", Version: "),
            std::string::npos);
}

TEST(ImageRecord, KeepsWhatAMaskWas) {
  Request request = example().request;
  request.picture = {{1, 1, {1, 2, 3}}, 0.25, StrengthMode::exact, {200}};
  ImageRecord record = make_image_record({}, {}, request);
  record.picture.handling = {Fit::stretch, 2.5, true};
  const ImageRecord read = parse_image_record("a.png", image_metadata(record).at(kRecordChunk));
  EXPECT_EQ(read.picture.mask_sha256, mask_hash(request.picture));
  EXPECT_NE(read.picture.mask_sha256, read.picture.sha256);
  EXPECT_EQ(read.picture.handling.mask_blur_px, 2.5);
  EXPECT_TRUE(read.picture.handling.invert_mask);
}

/// What a record of a picture made on that device says of the device, read back.
LoadOptions kept(const std::string& device, const DeviceOptions& given) {
  LoadOptions load;
  load.device = device;
  load.device_options = given;
  const ImageRecord record = make_image_record({}, load, example().request);
  return parse_image_record("a.png", image_metadata(record).at(kRecordChunk)).load;
}

TEST(ImageRecord, KeepsEveryOptionOfEveryDevice) {
  for (const DeviceKind* kind : device_kinds()) {
    DeviceOptions given;
    for (const DeviceOption& option : kind->options) given[option.name] = option.values.back();
    EXPECT_EQ(kept(kind->name, given).device_options, given) << kind->name;
  }
}

TEST(ImageRecord, KeepsDefaultsAndLeavesOtherDevicesOut) {
  if (find_device_kind("cuda") == nullptr || find_device_kind("ascend") == nullptr)
    GTEST_SKIP() << "not in this build";
  const DeviceOptions expected = {{"cuda_attention", "own"}, {"offload", "auto"}};
  const LoadOptions load =
      kept("cuda:1", {{"cuda_attention", "own"}, {"ascend_attention", "mask"}});
  EXPECT_EQ(load.device_options, expected);
  EXPECT_TRUE(kept("cpu", {{"offload", "layers"}}).device_options.empty());
}

TEST(ImageRecord, ReadsOptionsOfEarlierRecords) {
  json record = example_json();
  record["offload"] = "layers";
  record["ascend_attention"] = "mask";
  const auto read = [&record](const char* device) {
    record["device"] = device;
    return parse_image_record("a.png", record.dump()).load.device_options;
  };
  EXPECT_EQ(read("ascend:1"), (DeviceOptions{{"ascend_attention", "mask"}, {"offload", "layers"}}));
  EXPECT_EQ(read("cuda"), (DeviceOptions{{"offload", "layers"}}));  // it was written there too
}

/// An option that came later, whose default is what was done before.
TEST(ImageRecord, LeavesTheDefaultOfALaterOptionOut) {
  EXPECT_TRUE(kept("cpu", {{"gelu", "exact"}}).device_options.empty());
  EXPECT_EQ(kept("cpu", {{"gelu", "tanh"}}).device_options, (DeviceOptions{{"gelu", "tanh"}}));
}

/// Pictures hold it for good.
TEST(ImageRecord, KeepsItsFormat) {
  const std::string expected =
      R"({"cpu_kernels":"portable","device":"cpu","dtype":"bf16","format":1,"guidance_scale":4.5,)"
      R"("height":64,"image_index":0,"memory_limit_bytes":6442450944,)"
      R"("model":{"content_hash":"abc123","name":"emoji-tiny"},"negative_prompts":["blurry","dark"],)"
      R"("num_images_per_prompt":2,"num_inference_steps":8,)"
      R"("prompts":["a red apple","\u718a\u732b\nin two lines"],"quantization":"none",)"
      R"("seeds":[1,2,3,18446744073709551615],"version":")" +
      std::string(version()) + R"(","width":96})";
  EXPECT_EQ(image_metadata(example()).at(kRecordChunk), expected);
}

TEST(ImageRecord, WritesParametersOfItsOwnImage) {
  ImageRecord record = example();
  record.image_index = 1;
  EXPECT_EQ(image_metadata(record).at(kParametersChunk),
            std::string("a red apple\nNegative prompt: blurry\nSteps: 8, Sampler: Euler, CFG "
                        "scale: 4.5, Seed: 2, Size: 96x64, Model: emoji-tiny, Version: ernie-image "
                        "") +
                version());
  record.image_index = 2;
  EXPECT_TRUE(image_metadata(record).at(kParametersChunk).starts_with("熊猫\nin two lines\nNegat"));
}

TEST(ImageRecord, LeavesOutAnEmptyNegativePrompt) {
  ImageRecord record = example();
  record.request.negative_prompts.clear();
  EXPECT_EQ(image_metadata(record).at(kParametersChunk).find("Negative"), std::string::npos);
}

TEST(ImageRecord, ReplacesInvalidUtf8InTheModelName) {
  ModelInfo info;
  info.name = "bad\xff";
  Request request = example().request;
  EXPECT_EQ(make_image_record(info, {}, request).model_name, "bad\uFFFD");
}

struct Damage {
  const char* name;
  std::function<void(json&)> apply;
};

void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }

/// The record's picture to begin with, sound as it is.
json& image_of(json& record) {
  json& image = record["image"];
  image = {{"sha256", "feed"}, {"strength", 0.5}, {"strength_mode", "exact"}, {"resize", "crop"}};
  return image;
}

TEST(ImageRecord, OfAPictureIsReadIfItIsSound) {
  json object = example_json();
  image_of(object);
  EXPECT_EQ(parse_image_record("a.png", object.dump()).picture.sha256, "feed");
}

class HostileImageRecord : public testing::TestWithParam<Damage> {};

TEST_P(HostileImageRecord, IsRefusedByName) {
  json object = example_json();
  GetParam().apply(object);
  try {
    parse_image_record("a.png", object.dump());
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::corrupt_file);
    EXPECT_NE(std::string(error.what()).find("a.png"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileImageRecord,
    testing::Values(
        Damage{"NotAnObject", [](json& j) { j = json::array(); }},
        Damage{"UnknownFormat", [](json& j) { j["format"] = 2; }},
        Damage{"NoVersion", [](json& j) { j.erase("version"); }},
        Damage{"VersionIsNumber", [](json& j) { j["version"] = 1; }},
        Damage{"ModelIsText", [](json& j) { j["model"] = "x"; }},
        Damage{"NoPrompts", [](json& j) { j["prompts"] = json::array(); }},
        Damage{"PromptIsNumber",
               [](json& j) {
                 j["prompts"] = {1, 2};
               }},
        Damage{"TooManyPrompts",
               [](json& j) { j["prompts"] = std::vector<std::string>(5000, "a"); }},
        Damage{"NegativesDoNotFit",
               [](json& j) {
                 j["negative_prompts"] = {"a", "b", "c"};
               }},
        Damage{"HugeImageCount", [](json& j) { j["num_images_per_prompt"] = 1 << 30; }},
        Damage{"NoImages", [](json& j) { j["num_images_per_prompt"] = 0; }},
        Damage{"SeedsDoNotFit",
               [](json& j) {
                 j["seeds"] = {1, 2};
               }},
        Damage{"NoSeeds", [](json& j) { j["seeds"] = json::array(); }},
        Damage{"NegativeSeed", [](json& j) { j["seeds"] = {-1}; }},
        Damage{"IndexBeyondBatch", [](json& j) { j["image_index"] = 4; }},
        Damage{"NegativeIndex", [](json& j) { j["image_index"] = -1; }},
        Damage{"HugeHeight", [](json& j) { j["height"] = ~std::uint64_t{0}; }},
        Damage{"ZeroWidth", [](json& j) { j["width"] = 0; }},
        Damage{"FractionalSteps", [](json& j) { j["num_inference_steps"] = 1.5; }},
        Damage{"HugeSteps", [](json& j) { j["num_inference_steps"] = 1e9; }},
        Damage{"GuidanceIsNull", [](json& j) { j["guidance_scale"] = nullptr; }},
        Damage{"GuidanceIsHuge", [](json& j) { j["guidance_scale"] = 1e30; }},
        Damage{"UnknownDtype", [](json& j) { j["dtype"] = "fp64"; }},
        Damage{"UnknownQuantization", [](json& j) { j["quantization"] = "int3"; }},
        Damage{"QuantizationIsNumber", [](json& j) { j["quantization"] = 8; }},
        Damage{"MemoryLimitIsNegative", [](json& j) { j["memory_limit_bytes"] = -1; }},
        Damage{"OptionsAreAList", [](json& j) { j["device_options"] = {"own"}; }},
        Damage{"AnOptionIsNumber",
               [](json& j) {
                 j["device_options"] = {{"offload", 1}};
               }},
        Damage{"AnOptionIsLong",
               [](json& j) {
                 j["device_options"] = {{"offload", std::string(65, 'a')}};
               }},
        Damage{"TooManyOptions",
               [](json& j) {
                 for (int i = 0; i < 33; ++i) j["device_options"][std::to_string(i)] = "auto";
               }},
        Damage{"ImageIsText", [](json& j) { j["image"] = "a.png"; }},
        Damage{"ImageWithoutHash", [](json& j) { image_of(j).erase("sha256"); }},
        Damage{"StrengthIsHuge", [](json& j) { image_of(j)["strength"] = 1.5; }},
        Damage{"StrengthIsText", [](json& j) { image_of(j)["strength"] = "0.5"; }},
        Damage{"UnknownStrengthMode", [](json& j) { image_of(j)["strength_mode"] = "other"; }},
        Damage{"UnknownResize", [](json& j) { image_of(j)["resize"] = "other"; }},
        Damage{"MaskIsText", [](json& j) { image_of(j)["mask"] = "a.png"; }},
        Damage{"MaskWithoutBlur",
               [](json& j) {
                 image_of(j)["mask"] = {{"sha256", "feed"}, {"inverted", false}};
               }},
        Damage{"BlurIsHuge",
               [](json& j) {
                 image_of(j)["mask"] = {{"sha256", "feed"}, {"blur", 1e9}, {"inverted", false}};
               }},
        Damage{"LatentsHashIsNumber", [](json& j) { j["latents_sha256"] = 7; }}),
    [](const auto& test) { return test.param.name; });

TEST(ImageRecord, RefusesWhatIsNotJson) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("\xff"), std::string(100000, '[')}) {
    EXPECT_THROW(parse_image_record("a.png", text), Error);
  }
}

}  // namespace
}  // namespace ernie_image
