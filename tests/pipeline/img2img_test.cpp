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
    request.trace = trace;
    return request;
  }

  Case case_{golden::data_path("reference/img2img/" + GetParam())};
};

TEST_P(Img2ImgCase, Fp32Agrees) {
  TensorMap actual;
  load(Precision::fp32).generate(request(&actual));
  const bool guided = case_.inputs()["guidance_scale"].get<double>() > 1.0;
  for (const std::string name :
       {"scheduler.sigmas", "latents.picture", "latents.initial", "latents.final"}) {
    const auto difference = golden::compare(actual.tensors.at(name), case_.tensors.tensor(name));
    EXPECT_LE(difference.nmse, guided && name == "latents.final" ? 1e-8 : 1e-9) << name;
  }
  const Tensor expected = case_.tensors.tensor("image.uint8");
  const Tensor& pixels = actual.tensors.at("image.uint8");
  ASSERT_EQ(pixels.shape(), expected.shape());
  std::int64_t different = 0;
  for (std::int64_t i = 0; i < expected.size(); ++i) {
    const int delta =
        std::abs(int(pixels.data<std::uint8_t>()[i]) - int(expected.data<std::uint8_t>()[i]));
    EXPECT_LE(delta, 1) << "value " << i;
    different += delta;
  }
  EXPECT_LE(different, std::max<std::int64_t>(expected.size() / 1000, 6));
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
  with_picture.picture.image = picture(32, 32);
  expect_refused(with_picture, "32x32");
  with_picture.picture.image = picture(50, 32);
  with_picture.width_px = with_picture.height_px = 0;
  expect_refused(with_picture, "does not divide");
}

}  // namespace
}  // namespace ernie_image
