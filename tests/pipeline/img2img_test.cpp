// Pictures as input, against the reference composed of its parts, and what must be equal without
// any reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "ernie_image/pipeline.h"
#include "support/device.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

using golden::Case;
using golden::TensorMap;

Image image_of(const Tensor& pixels) {
  const auto rgb = pixels.span<std::uint8_t>();
  return {
      static_cast<int>(pixels.dim(2)), static_cast<int>(pixels.dim(1)), {rgb.begin(), rgb.end()}};
}

std::vector<std::string> texts_of(const nlohmann::json& value) {
  if (value.is_string()) return {value.get<std::string>()};
  return value.get<std::vector<std::string>>();
}

class Img2ImgCase : public ::testing::TestWithParam<std::string> {
 protected:
  Pipeline load(Precision precision) const {
    LoadOptions options;
    options.model = golden::data_path("reference/models/" + case_.json["model"].get<std::string>());
    options.precision = precision;
    options.device = test_device();
    return Pipeline::load(options);
  }

  Request request(Trace* trace) const {
    const auto& inputs = case_.inputs();
    Request request;
    request.prompts = texts_of(inputs["prompt"]);
    if (inputs.contains("negative_prompt"))
      request.negative_prompts = texts_of(inputs["negative_prompt"]);
    request.num_inference_steps = inputs["num_inference_steps"];
    request.guidance_scale = inputs["guidance_scale"].get<double>();
    request.seeds = {inputs["seed"].get<std::uint64_t>()};
    request.picture.image = image_of(case_.tensors.tensor("input.pixels"));
    request.picture.strength = inputs["strength"];
    if (case_.tensors.contains("input.mask")) {
      const Tensor mask = case_.tensors.tensor("input.mask");
      request.picture.mask.assign(mask.data<std::uint8_t>(),
                                  mask.data<std::uint8_t>() + mask.size());
    }
    request.trace = trace;
    return request;
  }

  Case case_{golden::data_path("reference/img2img/" + GetParam())};
};

/// At most one off, and rarely.
void expect_pixels(std::span<const std::uint8_t> actual, const Tensor& expected) {
  ASSERT_EQ(std::ssize(actual), expected.size());
  std::int64_t different = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const int delta = std::abs(int(actual[i]) - int(expected.data<std::uint8_t>()[i]));
    EXPECT_LE(delta, 1) << "value " << i;
    different += delta;
  }
  EXPECT_LE(different, std::max<std::int64_t>(expected.size() / 1000, 6));
}

TEST_P(Img2ImgCase, Fp32Agrees) {
  TensorMap actual;
  const Result result = load(Precision::fp32).generate(request(&actual));
  const bool guided = case_.inputs()["guidance_scale"].get<double>() > 1.0;
  for (const std::string name :
       {"scheduler.sigmas", "latents.picture", "latents.initial", "latents.final"}) {
    const auto difference = golden::compare(actual.tensors.at(name), case_.tensors.tensor(name));
    EXPECT_LE(difference.nmse, guided && name == "latents.final" ? 1e-8 : 1e-9) << name;
  }
  expect_pixels(actual.tensors.at("image.uint8").span<std::uint8_t>(),
                case_.tensors.tensor("image.uint8"));
  if (!case_.tensors.contains("input.mask")) return;
  EXPECT_EQ(golden::compare(actual.tensors.at("latents.mask"), case_.tensors.tensor("latents.mask"))
                .max_abs,
            0);
  std::vector<std::uint8_t> pixels;
  for (const Image& image : result.images)
    pixels.insert(pixels.end(), image.rgb.begin(), image.rgb.end());
  expect_pixels(pixels, case_.tensors.tensor("image.put_back"));
}

/// The reference's own bf16 run is the measure: its latents within twice its error, its picture
/// within 3 dB.
TEST_P(Img2ImgCase, Bf16IsAsCloseToFp32AsTheReferencesBf16) {
  TensorMap actual;
  Request bf16 = request(&actual);
  const Tensor noise = to_float(case_.tensors.tensor("input.noise"));
  bf16.latents.assign(noise.span<float>().begin(), noise.span<float>().end());
  load(Precision::bf16).generate(bf16);
  const auto& reference = case_.json["measured"]["bf16_vs_fp32"];
  const auto difference =
      golden::compare(actual.tensors.at("latents.final"), case_.tensors.tensor("latents.final"));
  EXPECT_LE(difference.nmse, 2 * reference["latents_nmse"].get<double>());
  EXPECT_GE(golden::psnr_db(actual.tensors.at("image.uint8"), case_.tensors.tensor("image.uint8")),
            reference["image_psnr_db"].get<double>() - 3.0);
}

std::vector<std::string> picture_case_folders() {
  std::vector<std::string> folders;
  for (const std::string model : {"tiny_a", "tiny_b"}) {
    for (const auto& entry :
         std::filesystem::directory_iterator(golden::data_path("reference/img2img/" + model)))
      folders.push_back(model + "/" + entry.path().filename().string());
  }
  std::ranges::sort(folders);
  return folders;
}

INSTANTIATE_TEST_SUITE_P(Reference, Img2ImgCase, ::testing::ValuesIn(picture_case_folders()),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           std::ranges::replace(name, '/', '_');
                           return name;
                         });

class Img2Img : public ::testing::Test {
 protected:
  static Request request() {
    Request request;
    request.prompts = {"a cat"};
    request.num_inference_steps = 4;
    request.height_px = 32;
    request.width_px = 48;
    return request;
  }
  static Image picture(int width, int height) {
    Image image{width, height, {}};
    for (int i = 0; i < 3 * width * height; ++i)
      image.rgb.push_back(static_cast<std::uint8_t>(i * 7 % 251));
    return image;
  }
  void expect_refused(const Request& request, const std::string& words) {
    try {
      pipeline_.check(request);
      ADD_FAILURE() << "accepted: " << words;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }

  Pipeline pipeline_ = Pipeline::load({.model = golden::data_path("reference/models/tiny_a")});
};

TEST_F(Img2Img, StrengthOneIsTextToPictureBitForBit) {
  for (const StrengthMode mode :
       {StrengthMode::diffusers, StrengthMode::sdcpp, StrengthMode::comfyui, StrengthMode::a1111,
        StrengthMode::exact}) {
    Request with_picture = request();
    with_picture.picture.image = picture(48, 32);
    with_picture.picture.strength = 1.0;
    with_picture.picture.strength_mode = mode;
    EXPECT_EQ(pipeline_.generate(with_picture).images[0].rgb,
              pipeline_.generate(request()).images[0].rgb);
  }
}

TEST_F(Img2Img, LessStrengthKeepsMoreOfThePicture) {
  TensorMap seen;
  double last = 0;
  for (const double strength : {0.05, 0.4, 0.9}) {
    Request with_picture = request();
    with_picture.picture.image = picture(48, 32);
    with_picture.picture.strength = strength;
    with_picture.picture.strength_mode = StrengthMode::exact;
    with_picture.trace = &seen;
    pipeline_.generate(with_picture);
    const double distance =
        golden::compare(seen.tensors.at("latents.initial"), seen.tensors.at("latents.picture"))
            .nmse;
    EXPECT_GT(distance, last) << strength;
    last = distance;
  }
}

/// White from that column on.
std::vector<std::uint8_t> mask_from_column(int width, int height, int column) {
  std::vector<std::uint8_t> mask;
  for (int i = 0; i < width * height; ++i) mask.push_back(i % width < column ? 0 : 255);
  return mask;
}

TEST_F(Img2Img, AMaskThatIsAllWhiteChangesNothing) {
  for (const double strength : {0.5, 1.0}) {
    Request with_picture = request();
    with_picture.picture.image = picture(48, 32);
    with_picture.picture.strength = strength;
    const std::vector<std::uint8_t> without = pipeline_.generate(with_picture).images[0].rgb;
    with_picture.picture.mask.assign(48 * 32, 255);
    EXPECT_EQ(pipeline_.generate(with_picture).images[0].rgb, without) << strength;
    if (strength == 1.0) {
      EXPECT_EQ(pipeline_.generate(request()).images[0].rgb, without);
    }
    // One pixel that is kept is enough to make a difference.
    with_picture.picture.mask[0] = 0;
    EXPECT_NE(pipeline_.generate(with_picture).images[0].rgb, without) << strength;
  }
}

TEST_F(Img2Img, AMaskThatIsAllBlackGivesThePictureBack) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    Pipeline pipeline = Pipeline::load(
        {.model = golden::data_path("reference/models/tiny_a"), .precision = precision});
    Request with_picture = request();
    with_picture.picture.image = picture(48, 32);
    with_picture.picture.mask.assign(48 * 32, 0);
    with_picture.num_images_per_prompt = 2;
    for (const Image& image : pipeline.generate(with_picture).images)
      EXPECT_EQ(image.rgb, with_picture.picture.image.rgb);
  }
}

TEST_F(Img2Img, WhatAMaskKeepsStaysAsItIs) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    Pipeline pipeline = Pipeline::load(
        {.model = golden::data_path("reference/models/tiny_a"), .precision = precision});
    TensorMap seen;
    Request with_picture = request();
    with_picture.picture.image = picture(48, 32);
    with_picture.picture.strength = 1.0;
    with_picture.picture.mask = mask_from_column(48, 32, 21);  // latents are of 16 pixels
    with_picture.trace = &seen;
    const Image image = pipeline.generate(with_picture).images[0];
    std::size_t changed = 0;
    for (std::size_t i = 0; i < image.rgb.size(); ++i) {
      const bool is_same = image.rgb[i] == with_picture.picture.image.rgb[i];
      if (i / 3 % 48 < 21) {
        EXPECT_TRUE(is_same) << i;
      }
      changed += !is_same;
    }
    EXPECT_GT(changed, 32u * 27 * 3 / 2);
    // The first of three columns of latents is that of the picture, bit for bit.
    const Tensor last = to_float(seen.tensors.at("latents.final"));
    const Tensor own = to_float(seen.tensors.at("latents.picture"));
    for (std::int64_t i = 0; i < last.size(); ++i) {
      const bool is_same = last.data<float>()[i] == own.data<float>()[i];
      if (i % 3 == 0) {
        EXPECT_TRUE(is_same) << i;
      }
      if (i % 3 == 2) {
        EXPECT_FALSE(is_same) << i;
      }
    }
  }
}

TEST_F(Img2Img, APartIsDrawnAtTheSizeAskedForAndPutBack) {
  Request part = request();  // of 48 x 32
  part.picture.image = picture(70, 50);
  part.picture.strength = 1.0;
  part.picture.mask.assign(70 * 50, 0);
  for (int y = 30; y < 40; ++y) {
    for (int x = 20; x < 41; ++x) part.picture.mask[static_cast<std::size_t>(y * 70 + x)] = 255;
  }
  part.picture.area_padding_px = 3;
  TensorMap seen;
  part.trace = &seen;
  const Image image = pipeline_.generate(part).images[0];
  EXPECT_EQ(seen.tensors.at("latents.final").shape(), (Shape{1, 128, 2, 3}));
  ASSERT_EQ(image.width_px, 70);
  ASSERT_EQ(image.height_px, 50);
  int changed = 0;
  for (std::size_t i = 0; i < image.rgb.size(); ++i) {
    const bool is_same = image.rgb[i] == part.picture.image.rgb[i];
    if (part.picture.mask[i / 3] == 0) {
      EXPECT_TRUE(is_same) << i;
    }
    changed += !is_same;
  }
  EXPECT_GT(changed, 10 * 21 * 3 / 2);

  part.trace = nullptr;
  part.picture.mask.assign(70 * 50, 0);  // nothing is to be drawn
  EXPECT_EQ(pipeline_.generate(part).images[0].rgb, part.picture.image.rgb);
  part.picture.mask.clear();
  expect_refused(part, "mask");
  part.picture.mask.assign(70 * 50, 255);
  part.picture.area_padding_px = -1;
  expect_refused(part, "padding");
}

/// From one pixel to the next across the edge of a mask, at most.
int largest_jump(const Image& image, int from, int to) {
  int largest = 0;
  for (int y = 0; y < image.height_px; ++y) {
    for (int x = from; x < to; ++x) {
      const auto pixel = static_cast<std::size_t>(3 * (y * image.width_px + x));
      largest = std::max(largest, std::abs(int(image.rgb[pixel]) - int(image.rgb[pixel + 3])));
    }
  }
  return largest;
}

TEST_F(Img2Img, ASoftMaskLeavesNoSeam) {
  Request with_picture = request();
  with_picture.picture.image = {48, 32, std::vector<std::uint8_t>(3 * 48 * 32, 255)};
  with_picture.picture.strength = 1.0;
  with_picture.picture.mask = mask_from_column(48, 32, 24);
  const Image hard = pipeline_.generate(with_picture).images[0];
  for (int i = 0; i < 48 * 32; ++i)
    with_picture.picture.mask[static_cast<std::size_t>(i)] =
        static_cast<std::uint8_t>(std::clamp((i % 48 - 14) * 255 / 20, 0, 255));
  const Image soft = pipeline_.generate(with_picture).images[0];
  EXPECT_LT(2 * largest_jump(soft, 22, 25), largest_jump(hard, 22, 25));
}

TEST_F(Img2Img, TheSizeIsThePicturesIfNoneIsAskedFor) {
  Request with_picture = request();
  with_picture.height_px = with_picture.width_px = 0;
  with_picture.picture.image = picture(80, 16);
  const Result result = pipeline_.generate(with_picture);
  EXPECT_EQ(result.images[0].width_px, 80);
  EXPECT_EQ(result.images[0].height_px, 16);
}

TEST_F(Img2Img, APictureThatCannotBeUsedIsRefusedBeforeAnyWork) {
  Request with_picture = request();
  with_picture.picture.image = picture(48, 32);
  pipeline_.check(with_picture);
  for (const double strength : {0.0, -0.1, 1.0000001, 1e300, std::nan("")}) {
    with_picture.picture.strength = strength;
    expect_refused(with_picture, "strength");
  }
  with_picture.picture.strength = 0.5;
  with_picture.picture.image.rgb.pop_back();
  expect_refused(with_picture, "bytes");
  with_picture.picture.image = picture(48, 32);
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{48 * 32 - 1}, std::size_t{3 * 48 * 32}}) {
    with_picture.picture.mask.assign(size, 255);
    expect_refused(with_picture, "mask");
  }
  Request only_mask = request();
  only_mask.picture.mask.assign(48 * 32, 255);
  expect_refused(only_mask, "mask");
  with_picture.picture.mask.clear();
  with_picture.picture.image = picture(32, 32);
  expect_refused(with_picture, "32x32");
  with_picture.picture.image = picture(50, 32);
  with_picture.width_px = with_picture.height_px = 0;
  expect_refused(with_picture, "does not divide");
}

}  // namespace
}  // namespace ernie_image
