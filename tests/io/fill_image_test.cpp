// What lies beyond a picture's edges and below its mask.
#include "io/fill_image.h"

#include <gtest/gtest.h>

namespace ernie_image {
namespace {

/// One row of greys.
Image row_of(const std::vector<std::uint8_t>& greys) {
  Image image{static_cast<int>(greys.size()), 1, {}};
  for (const std::uint8_t grey : greys) image.rgb.insert(image.rgb.end(), 3, grey);
  return image;
}

std::vector<int> greys_of(const Image& image) {
  std::vector<int> greys;
  for (std::size_t i = 0; i < image.rgb.size(); i += 3) greys.push_back(image.rgb[i]);
  return greys;
}

using Greys = std::vector<int>;

TEST(FillImage, ExtendedRepeatsTheEdge) {
  const Image image = extended(row_of({1, 2, 3}), {.left = 2, .top = 1, .right = 1, .bottom = 0});
  EXPECT_EQ(image.width_px, 6);
  EXPECT_EQ(image.height_px, 2);
  EXPECT_EQ(greys_of(image), (Greys{1, 1, 1, 2, 3, 3, 1, 1, 1, 2, 3, 3}));
}

TEST(FillImage, ExtendedMaskDrawsWhatIsNewAndALittleMore) {
  const Mask none = extended(Mask{}, 4, 1, {.left = 2}, 1);
  EXPECT_EQ(none.values, (std::vector<std::uint8_t>{255, 255, 255, 0, 0, 0}));
  const Mask given = extended(Mask{2, 2, {9, 0, 0, 0}}, 2, 2, {.bottom = 1}, 0);
  EXPECT_EQ(given.values, (std::vector<std::uint8_t>{9, 0, 0, 0, 255, 255}));
}

TEST(FillImage, TakesTheNearestKeptPixelOrItsMirrorImage) {
  const Mask mask{7, 1, {255, 255, 0, 0, 0, 255, 200}};
  const auto filled = [&](Fill how) {
    Image image = row_of({90, 91, 1, 2, 3, 92, 93});
    fill(image, mask, how);
    return greys_of(image);
  };
  EXPECT_EQ(filled(Fill::original), (Greys{90, 91, 1, 2, 3, 92, 93}));
  EXPECT_EQ(filled(Fill::edge), (Greys{1, 1, 1, 2, 3, 3, 3}));
  EXPECT_EQ(filled(Fill::mirror), (Greys{3, 2, 1, 2, 3, 2, 1}));
}

TEST(FillImage, FindsTheNearestOfAllDirections) {
  // Only the corner is kept: everything becomes it.
  Mask mask{5, 4, std::vector<std::uint8_t>(20, 255)};
  mask.values[19] = 0;
  Image image{5, 4, std::vector<std::uint8_t>(60, 7)};
  image.rgb[57] = image.rgb[58] = image.rgb[59] = 200;
  fill(image, mask, Fill::edge);
  EXPECT_EQ(image.rgb, std::vector<std::uint8_t>(60, 200));
}

TEST(FillImage, NoiseIsTheSameEachTimeAndStaysWithinTheMask) {
  Mask mask{16, 16, std::vector<std::uint8_t>(256, 255)};
  mask.values[5] = 0;
  Image first{16, 16, std::vector<std::uint8_t>(768, 7)}, second = first;
  fill(first, mask, Fill::noise);
  fill(second, mask, Fill::noise);
  EXPECT_EQ(first.rgb, second.rgb);
  EXPECT_EQ(first.rgb[15], 7);
  double sum = 0;
  for (const std::uint8_t value : first.rgb) sum += value;
  EXPECT_NEAR(sum / 768, 127.5, 12);
}

TEST(FillImage, WhereNothingIsKeptStaysAsItIs) {
  const Mask mask{3, 1, {255, 255, 255}};
  for (const Fill how : {Fill::edge, Fill::mirror}) {
    Image image = row_of({1, 2, 3});
    fill(image, mask, how);
    EXPECT_EQ(greys_of(image), (Greys{1, 2, 3}));
  }
}

TEST(MaskedBox, IsWhatIsMaskedWithItsPaddingWithinThePicture) {
  std::vector<std::uint8_t> mask(10 * 8);
  EXPECT_EQ(masked_box(mask, 10, 8, 3).width, 0);
  mask[2 * 10 + 1] = 1;
  mask[4 * 10 + 6] = 255;
  const PixelBox box = masked_box(mask, 10, 8, 2);
  EXPECT_EQ(box.left, 0);
  EXPECT_EQ(box.top, 0);
  EXPECT_EQ(box.width, 9);
  EXPECT_EQ(box.height, 7);
}

TEST(MaskedBox, GrowsTowardsProportions) {
  const PixelBox wide = with_proportions({40, 40, 10, 10}, 100, 100, 64, 32);
  EXPECT_EQ(wide.width, 20);
  EXPECT_EQ(wide.height, 10);
  EXPECT_EQ(wide.left, 35);
  const PixelBox high = with_proportions({90, 0, 10, 10}, 100, 15, 32, 64);
  EXPECT_EQ(high.width, 10);
  EXPECT_EQ(high.height, 15);  // no room for 20
  EXPECT_EQ(high.top, 0);
}

}  // namespace
}  // namespace ernie_image
