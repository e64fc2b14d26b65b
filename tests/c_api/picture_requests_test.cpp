// Requests of the C API that begin with a picture, draw it larger, in parts, or like another.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "c_api_fixture.h"
#include "ernie_image/c.h"

using namespace c_api_test;

namespace {

/// A picture of one grey.
struct GreyPicture {
  static constexpr std::uint8_t kGrey = 90;

  GreyPicture(int height, int width)
      : rgb(static_cast<std::size_t>(3 * height * width), kGrey),
        c{sizeof c, height, width, rgb.data()} {}

  std::vector<std::uint8_t> rgb;
  ernie_image_image c;
};

TEST(CApi, BeginsWithAPictureAsMuchAsItsStrengthSays) {
  SmallRequest request;
  request.c.num_inference_steps = 4;
  const auto plain = pixels_drawn(request.c);
  const GreyPicture picture(16, 16);
  request.c.image = &picture.c;
  const auto drawn = pixels_drawn(request.c);
  request.c.strength = 0.6;
  EXPECT_EQ(pixels_drawn(request.c), drawn);
  request.c.strength_mode = "exact";
  EXPECT_NE(pixels_drawn(request.c), drawn);
  request.c.strength_mode = nullptr;
  request.c.latents_only = 1;
  Steps steps;
  request.c.on_step = follow_step;
  request.c.user_data = &steps;
  ernie_image_result* const latents = ernie_image_generate(embedded(), &request.c, nullptr);
  EXPECT_EQ(steps.latents.size(), 3u);  // of four
  EXPECT_EQ(steps.steps_in_all, 3);
  ASSERT_NE(ernie_image_result_latents(latents, nullptr), nullptr);
  EXPECT_EQ(*ernie_image_result_latents(latents, nullptr), steps.latents.back().front());
  ernie_image_result_free(latents);
  request.c.latents_only = 0;
  request.c.on_step = nullptr;
  request.c.strength = 1;
  EXPECT_EQ(pixels_drawn(request.c), plain);
  EXPECT_NE(plain, drawn);
  request.c.strength_mode = "loud";
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "\"loud\" is none of diffusers");
  request.c.strength_mode = nullptr;
  for (const double strength : {-0.1, 1.5, std::nan("")}) {
    request.c.strength = strength;
    expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "above 0 and at most 1");
  }
  request.c.strength = 0;
  request.c.width_px = 32;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the picture has 16x16 pixels, 32x16");
  ernie_image_image none = {sizeof none, 16, 16, nullptr};
  request.c.image = &none;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the image has no pixels");
}

TEST(CApi, KeepsWhatTheMaskDoesNotShow) {
  const GreyPicture picture(16, 16);
  std::vector<std::uint8_t> mask(16 * 16);  // the lower half is drawn
  std::fill(mask.begin() + 8 * 16, mask.end(), std::uint8_t{255});
  SmallRequest request;
  request.c.image = &picture.c;
  request.c.strength = 1;
  request.c.mask = mask.data();
  request.c.mask_count = mask.size();
  const std::vector<std::uint8_t> kept(8 * 16 * 3, GreyPicture::kGrey);
  const auto upper = [&](const std::vector<std::uint8_t>& pixels) {
    return std::vector(pixels.begin(), pixels.begin() + std::ssize(kept));
  };
  const auto drawn = pixels_drawn(request.c);
  EXPECT_EQ(upper(drawn), kept);
  EXPECT_NE(drawn, picture.rgb);
  request.c.drawn_as_it_is = 1;
  EXPECT_NE(upper(pixels_drawn(request.c)), kept);
  request.c.drawn_as_it_is = 0;

  request.c.mask_count = 9;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the mask has 9 bytes");
  request.c.mask_count = mask.size();
  request.c.mask = nullptr;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "256 bytes of a mask, and they are NULL");
  request.c.mask = mask.data();
  request.c.image = nullptr;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "no image that it is of");
}

TEST(CApi, DrawsTheMaskedPartOfAPictureOfAnySize) {
  const GreyPicture picture(21, 40);
  std::vector<std::uint8_t> mask(21 * 40);
  mask[10 * 40 + 20] = 255;
  SmallRequest request;
  request.c.image = &picture.c;
  request.c.strength = 1;
  request.c.mask = mask.data();
  request.c.mask_count = mask.size();
  request.c.masked_area_only = 1;
  request.c.mask_padding_px = 4;
  auto drawn = pixels_drawn(request.c);
  ASSERT_EQ(drawn.size(), picture.rgb.size());
  EXPECT_NE(drawn, picture.rgb);
  std::fill_n(drawn.begin() + (10 * 40 + 20) * 3, 3, GreyPicture::kGrey);
  EXPECT_EQ(drawn, picture.rgb);
  request.c.mask_padding_px = -1;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the mask's padding must be 0 to");
}

TEST(CApi, DrawsLargerAndInParts) {
  SmallRequest request;
  request.c.hires_scale = 2;
  EXPECT_EQ(pixels_drawn(request.c).size(), 32u * 32 * 3);
  request.c.hires_scale = 0;
  request.c.hires_height_px = 32;
  request.c.hires_width_px = 48;
  request.c.hires_strength = 1;
  request.c.hires_steps = 2;
  Steps steps;  // of the first run, whose latents are no larger pictures' to learn from
  request.c.on_step = follow_step;
  request.c.user_data = &steps;
  request.c.with_previews = 1;
  EXPECT_EQ(pixels_drawn(request.c).size(), 32u * 48 * 3);
  EXPECT_EQ(steps.latents.size(), 1u);
  request.c.hires_strength = 2;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "strength of the second run");

  SmallRequest parts;
  parts.c.num_inference_steps = 4;
  parts.c.strength = 0.3;
  const auto whole = pixels_drawn(parts.c);
  const std::int32_t boxes[] = {0, 8, 16, 8};
  parts.c.boxes = boxes;
  parts.c.box_count = 1;
  const auto drawn = pixels_drawn(parts.c);
  ASSERT_EQ(drawn.size(), whole.size());
  EXPECT_TRUE(std::equal(whole.begin(), whole.begin() + 7 * 16 * 3, drawn.begin()));
  EXPECT_NE(drawn, whole);
  const std::int32_t outside[] = {8, 8, 16, 8};
  parts.c.boxes = outside;
  expect_refused(parts.c, ERNIE_IMAGE_INVALID_ARGUMENT, "the box 8,8,16,8 is not within");
  parts.c.box_count = 17;
  expect_refused(parts.c, ERNIE_IMAGE_INVALID_ARGUMENT, "17 boxes; at most 16");
  parts.c.boxes = nullptr;
  parts.c.box_count = 2;
  expect_refused(parts.c, ERNIE_IMAGE_INVALID_ARGUMENT, "8 sides of boxes, and they are NULL");
}

TEST(CApi, VariesThePictureOfASeed) {
  SmallRequest request;
  const std::uint64_t seed = 7, other = 9;
  request.c.seeds = &other;
  request.c.seed_count = 1;
  const auto of_other = pixels_drawn(request.c);
  request.c.seeds = &seed;
  const auto plain = pixels_drawn(request.c);
  request.c.variation_seeds = &other;
  request.c.variation_seed_count = 1;
  EXPECT_EQ(pixels_drawn(request.c), plain);
  request.c.variation_strength = 1;
  EXPECT_EQ(pixels_drawn(request.c), of_other);
  request.c.variation_strength = 0.4;
  const auto between = pixels_drawn(request.c);
  EXPECT_NE(between, plain);
  EXPECT_NE(between, of_other);
  request.c.variation_seed_count = 0;
  expect_refused(request.c, ERNIE_IMAGE_INVALID_ARGUMENT, "needs a seed of its own");
}

}  // namespace
