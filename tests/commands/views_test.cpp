// What people see: the progress line, the enlarged copy, the picture in the terminal.
#include <gtest/gtest.h>

#include "commands/image_views.h"
#include "common/progress_bar.h"

namespace ernie_image {
namespace {

/// Red and blue above green and black.
Image four_pixels() { return {2, 2, {255, 0, 0, 0, 0, 255, 0, 255, 0, 0, 0, 0}}; }

TEST(ProgressLine, ShowsStepsSpeedAndTimeLeft) {
  EXPECT_EQ(progress_line({Stage::transformer, 2, 8, 3.0}),
            "transformer   [######------------------]  2/8  1.50 s/step  9.0 s left");
}

TEST(ProgressLine, KnowsNoSpeedBeforeTheFirstStep) {
  EXPECT_EQ(progress_line({Stage::vae_decoder, 0, 1, 0.0}),
            "VAE decoder   [------------------------]  0/1");
}

TEST(FittedLine, ShortensTheBarThenDropsItThenTheEnd) {
  const std::string line = progress_line({Stage::transformer, 2, 8, 3.0});
  EXPECT_EQ(fitted_line(line, 80), line);
  EXPECT_EQ(fitted_line(line, static_cast<int>(line.size()) + 1), line);
  EXPECT_EQ(fitted_line(line, static_cast<int>(line.size())),
            "transformer   [#####------------------]  2/8  1.50 s/step  9.0 s left");
  EXPECT_EQ(fitted_line(line, 51), "transformer   [#---]  2/8  1.50 s/step  9.0 s left");
  EXPECT_EQ(fitted_line(line, 50), "transformer    2/8  1.50 s/step  9.0 s left");
  EXPECT_EQ(fitted_line(line, 30), "transformer    2/8  1.50 s/st");
  for (int columns = 0; columns < 100; ++columns)
    EXPECT_LT(fitted_line(line, columns).size(), static_cast<std::size_t>(std::max(columns, 1)));
}

TEST(BesideEnlarged, RepeatsEachPixelSixTimes) {
  const Image view = beside_enlarged(four_pixels());
  ASSERT_EQ(view.width_px, 2 + 12 + 3 * 16);
  ASSERT_EQ(view.height_px, 12 + 2 * 16);
  const auto red_at = [&](int x, int y) {
    return view.rgb[static_cast<std::size_t>(y * view.width_px + x) * 3];
  };
  for (int i = 0; i < 6; ++i) EXPECT_EQ(red_at(34 + i, 16 + i), 255);
  EXPECT_EQ(red_at(40, 16), 0);    // blue begins
  EXPECT_EQ(red_at(16, 21), 255);  // the picture itself, centred
  EXPECT_EQ(red_at(33, 16), 240);  // paper between the two
}

TEST(BesideEnlarged, EnlargesLargePicturesLess) {
  Image wide{8000, 1, std::vector<std::uint8_t>(24000)};
  EXPECT_EQ(beside_enlarged(wide).width_px, 8000 * 2 + 3 * 16);
}

TEST(HalfBlocks, PrintsTwoRowsALine) {
  EXPECT_EQ(half_blocks(four_pixels(), 80),
            "\x1b[38;2;255;0;0m\x1b[48;2;0;255;0m▀\x1b[38;2;0;0;255m\x1b[48;2;0;0;0m▀\x1b[0m\n");
}

TEST(HalfBlocks, AveragesDownToTheTerminal) {
  EXPECT_EQ(half_blocks(four_pixels(), 1), "\x1b[38;2;64;64;64m▀\x1b[0m\n");
}

}  // namespace
}  // namespace ernie_image
