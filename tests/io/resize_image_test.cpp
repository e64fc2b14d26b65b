// Pictures scaled to another size.
#include "io/resize_image.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ernie_image {
namespace {

/// A slope from left to right and another from top to bottom.
Image slopes(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.rgb.push_back(static_cast<std::uint8_t>(255 * x / std::max(1, width - 1)));
      image.rgb.push_back(static_cast<std::uint8_t>(255 * y / std::max(1, height - 1)));
      image.rgb.push_back(77);
    }
  }
  return image;
}

int at(const Image& image, int x, int y, int channel) {
  return image.rgb[static_cast<std::size_t>(3 * (y * image.width_px + x) + channel)];
}

TEST(ResizeImage, OfTheSameSizeIsTheSame) {
  const Image image = slopes(20, 10);
  EXPECT_EQ(resized(image, 20, 10, Fit::crop).rgb, image.rgb);
}

TEST(ResizeImage, KeepsSlopesAndEvenColours) {
  for (const auto& [width, height] : {std::pair{40, 30}, {7, 5}, {80, 4}, {1, 1}}) {
    const Image image = resized(slopes(20, 10), width, height, Fit::stretch);
    ASSERT_EQ(image.rgb.size(), static_cast<std::size_t>(3 * width * height));
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        EXPECT_EQ(at(image, x, y, 2), 77);
        EXPECT_NEAR(at(image, x, y, 0),
                    std::clamp(255 * ((x + .5) * 20 / width - .5) / 19, 0., 255.), 12);
        EXPECT_NEAR(at(image, x, y, 1),
                    std::clamp(255 * ((y + .5) * 10 / height - .5) / 9, 0., 255.), 16);
      }
    }
  }
}

TEST(ResizeImage, CropCutsBothSidesAlike) {
  const Image image = resized(slopes(40, 10), 10, 10, Fit::crop);
  EXPECT_NEAR(at(image, 0, 0, 0), 255 * 15 / 39, 2);
  EXPECT_NEAR(at(image, 9, 0, 0), 255 * 24 / 39, 2);
  EXPECT_NEAR(at(image, 0, 9, 1), 255, 2);
}

TEST(ResizeImage, FitRepeatsTheEdge) {
  const Image image = resized(slopes(40, 10), 40, 40, Fit::pad);
  for (const int y : {0, 14, 15}) EXPECT_EQ(at(image, 20, y, 1), 0);
  for (const int y : {24, 25, 39}) EXPECT_EQ(at(image, 20, y, 1), 255);
  EXPECT_EQ(at(image, 39, 0, 0), 255);
}

TEST(ResizeImage, ExtremeProportionsAreNoTrouble) {
  for (const Fit fit : {Fit::stretch, Fit::crop, Fit::pad}) {
    EXPECT_EQ(resized(slopes(3000, 1), 16, 16, fit).rgb.size(), 768u);
    EXPECT_EQ(resized(slopes(1, 3000), 16, 32, fit).rgb.size(), 1536u);
    EXPECT_EQ(resized(slopes(1, 1), 48, 16, fit).rgb.size(), 2304u);
  }
}

}  // namespace
}  // namespace ernie_image
