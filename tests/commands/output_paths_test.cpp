#include "common/output_paths.h"

#include <gtest/gtest.h>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

using Paths = std::vector<std::string>;

TEST(OutputPaths, OneImageKeepsItsName) {
  EXPECT_EQ(output_paths("out/a.b/cat.png", 1), Paths({"out/a.b/cat.png"}));
}

TEST(OutputPaths, LaterImagesGetANumberBeforeTheExtension) {
  EXPECT_EQ(output_paths("out.d/cat.x.png", 3),
            Paths({"out.d/cat.x.png", "out.d/cat.x-2.png", "out.d/cat.x-3.png"}));
}

TEST(OutputPaths, ANumberInTheNameCountsFromOne) {
  EXPECT_EQ(output_paths("cat-%d.png", 2), Paths({"cat-1.png", "cat-2.png"}));
  EXPECT_EQ(output_paths("%03d.png", 2), Paths({"001.png", "002.png"}));
  EXPECT_EQ(output_paths("cat-%d.png", 1), Paths({"cat-1.png"}));
  EXPECT_EQ(output_paths("%02d.png", 100).back(), "100.png");
}

TEST(OutputPaths, TwoPercentSignsAreOne) {
  EXPECT_EQ(output_paths("100%%.png", 2), Paths({"100%.png", "100%-2.png"}));
  EXPECT_EQ(output_paths("%%d%d%%.png", 1), Paths({"%d1%.png"}));
}

TEST(OutputPaths, OnlyTheFileNameIsAPattern) {
  EXPECT_EQ(output_paths("a%sb/c.png", 1), Paths({"a%sb/c.png"}));
}

TEST(OutputPaths, RefusesEveryOtherConversion) {
  for (const char* name : {"%s.png", "%n.png", "%5d.png", "%-3d.png", "%0d.png", "%00d.png",
                           "%012d.png", "%d%d.png", "%.png", "50%", "%ld.png", "%*d.png"}) {
    EXPECT_THROW(output_paths(name, 2), Error) << name;
  }
}

}  // namespace
}  // namespace ernie_image
