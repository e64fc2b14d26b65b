#include "pipeline/preview.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "io/image_file.h"
#include "jobs/latents_trace.h"

namespace ernie_image {
namespace {

constexpr int kChannels = 5, kFactor = 8;

std::vector<float> random_latents(int h, int w, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> latents(static_cast<std::size_t>(kChannels * h * w));
  for (float& value : latents) value = normal(random);
  return latents;
}

/// A decoder that is linear: the preview can be exact.
Image decode_linearly(const std::vector<float>& latents, int h, int w) {
  Image image{w * kFactor, h * kFactor, {}};
  for (int y = 0; y < image.height_px; ++y) {
    for (int x = 0; x < image.width_px; ++x) {
      for (int c = 0; c < 3; ++c) {
        const int cell = y % kFactor / 2 * 4 + x % kFactor / 2;
        double value = 128;
        for (int k = 0; k < kChannels; ++k) {
          value += 9 * std::sin(cell * 7 + c * 3 + k) *
                   latents[static_cast<std::size_t>((k * h + y / kFactor) * w + x / kFactor)];
        }
        image.rgb.push_back(static_cast<std::uint8_t>(std::clamp(value + 0.5, 0.0, 255.0)));
      }
    }
  }
  return image;
}

/// `image` in cells of 2 x 2 pixels.
double mean_difference(const Image& preview, const Image& image) {
  double sum = 0;
  for (int y = 0; y < preview.height_px; ++y) {
    for (int i = 0; i < 3 * preview.width_px; ++i) {
      const int pixel = (2 * y * image.width_px + i / 3 * 2) * 3 + i % 3;
      sum += std::abs(int(preview.rgb[std::size_t(y * 3 * preview.width_px + i)]) -
                      int(image.rgb[std::size_t(pixel)]));
    }
  }
  return sum / double(preview.rgb.size());
}

TEST(PreviewModel, IsGreyBeforeItHasLearnt) {
  const Image image = PreviewModel(kChannels, kFactor).draw(random_latents(2, 3, 1), 2, 3);
  EXPECT_EQ(image.width_px, 12);
  EXPECT_EQ(image.height_px, 8);
  EXPECT_EQ(image.rgb, std::vector<std::uint8_t>(12 * 8 * 3, 128));
}

TEST(PreviewModel, LearnsALinearDecoder) {
  PreviewModel preview(kChannels, kFactor);
  const auto seen = random_latents(12, 10, 1), unseen = random_latents(6, 9, 2);
  preview.learn(seen, decode_linearly(seen, 12, 10));
  // Of 256 levels: the pixels' rounding, and what the ridge takes off the coefficients.
  EXPECT_LT(mean_difference(preview.draw(unseen, 6, 9), decode_linearly(unseen, 6, 9)), 1.0);
}

TEST(PreviewModel, SurvivesValuesThatAreNotFinite) {
  PreviewModel preview(kChannels, kFactor);
  const auto seen = random_latents(4, 4, 1);
  preview.learn(seen, decode_linearly(seen, 4, 4));
  EXPECT_NO_THROW(preview.draw(std::vector<float>(kChannels, std::nanf("")), 1, 1));
  EXPECT_NO_THROW(preview.draw(std::vector<float>(kChannels, 1e38f), 1, 1));
}

double correlation(const Image& preview, const Image& image) {
  const int cell = image.width_px / preview.width_px;
  double n = 0, sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
  for (int y = 0; y < preview.height_px; ++y) {
    for (int i = 0; i < 3 * preview.width_px; ++i) {
      double y_mean = 0;
      for (int k = 0; k < cell * cell; ++k) {
        const int row = y * cell + k / cell, column = i / 3 * cell + k % cell;
        y_mean += image.rgb[std::size_t((row * image.width_px + column) * 3 + i % 3)];
      }
      y_mean /= cell * cell;
      const double x = preview.rgb[std::size_t(y * 3 * preview.width_px + i)];
      n += 1, sx += x, sy += y_mean, sxx += x * x, syy += y_mean * y_mean, sxy += x * y_mean;
    }
  }
  return (n * sxy - sx * sy) / std::sqrt((n * sxx - sx * sx) * (n * syy - sy * sy));
}

TEST(Preview, ResemblesThePicture) {
  Pipeline pipeline = Pipeline::load({.model = "embedded:emoji-tiny"});
  PreviewModel preview(pipeline.info().latent_channels, pipeline.info().size_multiple_px);
  learn_from_random_latents(preview, pipeline);
  const auto draw = [&](const std::string& prompt, int watched_step) {
    LatentsTrace trace;
    Image early;
    Request request;
    request.prompts = {prompt};
    request.trace = &trace;
    request.on_progress = [&](const Progress& progress) {
      if (progress.stage != Stage::transformer || progress.step != watched_step) return;
      early = preview.draw(trace.denoised(0), 4, 4);
    };
    const Image image = pipeline.generate(request).images.front();
    const std::vector<float> latents = image_latents(trace.latents(), 0);
    const double at_end = correlation(preview.draw(latents, 4, 4), image);
    const double at_step = correlation(early, image);
    preview.learn(latents, image);
    return std::pair(at_step, at_end);
  };
  // Taught by noise alone it has the colours; taught by pictures, details too. 1 is the same.
  const auto [untaught_early, untaught] = draw("a red apple on a blue background", 2);
  RecordProperty("untaught", std::to_string(untaught));
  EXPECT_GT(untaught, 0.5);
  for (const char* prompt : {"a panda on a pink background", "a yellow star on a green background",
                             "a dog on a white background", "a house on a red background"}) {
    draw(prompt, 2);
  }
  const auto [early, taught] = draw("a red apple on a blue background", 2);
  EXPECT_GT(taught, 0.8);
  EXPECT_GT(early, 0.6);
  std::printf("correlation: noise alone %.3f, step 2 %.3f; after 5 pictures %.3f, step 2 %.3f\n",
              untaught, untaught_early, taught, early);
}

TEST(Preview, DenoisedLatentsOfTheLastStepAreTheLatents) {
  Pipeline pipeline = Pipeline::load({.model = "embedded:emoji-tiny"});
  LatentsTrace trace;
  Request request;
  request.prompts = {"a cat", "a dog"};
  request.seeds = {1, 2};
  request.num_inference_steps = 3;
  request.trace = &trace;
  pipeline.generate(request);
  EXPECT_EQ(trace.denoised(1), image_latents(trace.latents(), 1));  // sigma is 0 there
}

}  // namespace
}  // namespace ernie_image
