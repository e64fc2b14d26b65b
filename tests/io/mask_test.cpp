// Masks: how they are read from pictures, scaled and made soft.
#include "io/mask.h"

#include <gtest/gtest.h>
#include <webp/encode.h>

#include <algorithm>

#include "io/image_file.h"
#include "io/picture_reader.h"
#include "test_files.h"

namespace ernie_image {
namespace {

Mask mask_of(std::vector<std::uint8_t> encoded) {
  return read_mask(std::as_bytes(std::span(encoded)), "a mask");
}

std::vector<std::uint8_t> rgba_webp(const std::vector<std::uint8_t>& rgba, int width, int height) {
  std::uint8_t* encoded = nullptr;
  const std::size_t size = WebPEncodeLosslessRGBA(rgba.data(), width, height, 4 * width, &encoded);
  std::vector<std::uint8_t> bytes(encoded, encoded + size);
  WebPFree(encoded);
  return bytes;
}

/// White to the right of column `edge`.
Mask half(int width, int height, int edge) {
  Mask mask{width, height, {}};
  for (int i = 0; i < width * height; ++i)
    mask.values.push_back(i % width < edge ? std::uint8_t{0} : std::uint8_t{255});
  return mask;
}

TEST(Mask, IsWhatIsWhite) {
  const Image image{3, 1, {255, 255, 255, 0, 0, 0, 128, 128, 128}};
  for (const ImageFormat format : {ImageFormat::png, ImageFormat::webp}) {
    const Mask mask = mask_of(encode_image(image, {format, 100}, {}));
    EXPECT_EQ(mask.width_px, 3);
    EXPECT_EQ(mask.height_px, 1);
    EXPECT_EQ(mask.values, (std::vector<std::uint8_t>{255, 0, 128}));
  }
}

TEST(Mask, IsWhatIsTransparentIfAnythingIs) {
  // Colours do not matter then: such a mask is the picture itself with a hole.
  const std::vector<std::uint8_t> rgba = {255, 255, 255, 255, 0, 0, 0, 0, 9, 9, 9, 100};
  EXPECT_EQ(mask_of(rgba_webp(rgba, 3, 1)).values, (std::vector<std::uint8_t>{0, 255, 155}));
  const std::vector<std::uint8_t> opaque = {255, 255, 255, 255, 0, 0, 0, 255};
  EXPECT_EQ(mask_of(rgba_webp(opaque, 2, 1)).values, (std::vector<std::uint8_t>{255, 0}));
}

TEST(Mask, HasTheErrorsOfPictures) {
  test::expect_error(ErrorKind::corrupt_file, {"a mask", "not a PNG"}, [] {
    mask_of({'n', 'o', 't', 'h', 'i', 'n', 'g'});
  });
}

TEST(Mask, ScaledStaysWithinItsValues) {
  const Mask mask = half(64, 8, 31);
  for (const Fit fit : {Fit::stretch, Fit::crop, Fit::pad}) {
    for (const auto& [width, height] : {std::pair{48, 16}, {160, 20}, {7, 5}}) {
      const Mask scaled = resized(mask, width, height, fit);
      ASSERT_EQ(scaled.values.size(), static_cast<std::size_t>(width * height));
      for (int y = 0; y < height; ++y) {
        // No ringing: it only rises, from all of the one to all of the other.
        const auto row = scaled.values.begin() + y * width;
        EXPECT_TRUE(std::is_sorted(row, row + width));
        EXPECT_EQ(row[0], 0);
        EXPECT_EQ(row[width - 1], 255);
      }
    }
  }
}

TEST(Mask, BlurredIsSoftAtItsEdgeAndUntouchedFarFromIt) {
  const Mask soft = blurred(half(40, 3, 20), 2.0);
  EXPECT_EQ(soft.values[14], 0);  // beyond 2.5 sigma
  EXPECT_EQ(soft.values[25], 255);
  EXPECT_EQ(soft.values[19] + soft.values[20], 255);  // alike on both sides
  for (int x = 15; x < 25; ++x) EXPECT_LT(soft.values[x - 1], soft.values[x]) << x;
  // The Gaussian's own value half a pixel from the edge: 0.5 (1 + erf(0.5 / (2 sqrt 2))) = 0.5987.
  EXPECT_NEAR(soft.values[20], 255 * 0.5987, 3);
  EXPECT_EQ(soft.values[0], soft.values[80]);
}

TEST(Mask, BlurLeavesAFullOrEmptyMaskAlone) {
  for (const std::uint8_t value : {std::uint8_t{0}, std::uint8_t{255}}) {
    const Mask mask{5, 9, std::vector<std::uint8_t>(45, value)};
    for (const double sigma : {0.0, 0.3, 4.0, kMaxBlurPx}) {
      EXPECT_EQ(blurred(mask, sigma).values, mask.values);
    }
  }
}

}  // namespace
}  // namespace ernie_image
