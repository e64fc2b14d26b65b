// The parts of the HTML report that text and odd figures reach.
#include <gtest/gtest.h>

#include <limits>

#include "eval/heat_map.h"
#include "eval/html.h"
#include "eval/svg_charts.h"

namespace ernie_image {
namespace {

TEST(Html, EscapesWhatHasAMeaning) {
  EXPECT_EQ(escape_html("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
}

TEST(LineChart, LeavesOutWhatALogarithmCannotShow) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(line_chart("t", "step", {{"none", {0, infinity}}}), "");
  const std::string svg = line_chart("t", "step", {{"<one>", {1e-3, 0, 1e-2}}});
  EXPECT_NE(svg.find("&lt;one&gt;"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  // A gap: two moves, no line across it.
  const std::string path = svg.substr(svg.find("class=\"curve"), 200);
  EXPECT_EQ(path.substr(0, path.find("/>")).find('L'), std::string::npos) << path;
}

TEST(StackedBars, AddUpToTheLongestRow) {
  const std::string svg = stacked_bars("t", "s", {"a", "b"}, {{"x", {1, 1}}, {"y", {1, 3}}});
  EXPECT_NE(svg.find("4 s"), std::string::npos);
  EXPECT_EQ(stacked_bars("t", "s", {"a"}, {{"x", {0}}}), "");
}

TEST(HeatMap, GoesFromBlackToYellowAtTheLargestDifference) {
  const Image a{3, 1, {0, 0, 0, 10, 0, 0, 5, 5, 5}};
  const Image b{3, 1, {0, 0, 0, 0, 0, 0, 5, 0, 5}};
  const Image map = heat_map(a, b);
  EXPECT_EQ(std::vector<std::uint8_t>(map.rgb.begin(), map.rgb.begin() + 3),
            (std::vector<std::uint8_t>{0x00, 0x00, 0x04}));
  EXPECT_EQ(std::vector<std::uint8_t>(map.rgb.begin() + 3, map.rgb.begin() + 6),
            (std::vector<std::uint8_t>{0xfc, 0xff, 0xa4}));
  EXPECT_GT(map.rgb[6], 0x42);
  EXPECT_LT(map.rgb[6], 0xfc);
}

}  // namespace
}  // namespace ernie_image
