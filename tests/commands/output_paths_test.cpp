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

TEST(OutputPaths, APercentSignWithAnythingElseIsOne) {
  for (const char* name : {"%s.png", "%n.png", "50%.png", "50% done.png", "%.png", "a%20b.png"})
    EXPECT_EQ(output_paths(name, 1), Paths({name}));
  EXPECT_EQ(output_paths("50%-%d.png", 1), Paths({"50%-1.png"}));
}

TEST(OutputPaths, RefusesTwoNumbersAndNumbersInOtherForms) {
  for (const char* name : {"%5d.png", "%-3d.png", "%0d.png", "%00d.png", "%012d.png", "%d%d.png",
                           "%ld.png", "%*d.png", "%d-%03d.png"}) {
    EXPECT_THROW(output_paths(name, 2), Error) << name;
  }
}

TEST(NameOfPrompt, IsItsWordsInLowerCase) {
  EXPECT_EQ(name_of_prompt("A red apple, on blue!"), "a-red-apple-on-blue");
  EXPECT_EQ(name_of_prompt("黑色背景上的猫头鹰，夜"), "黑色背景上的猫头鹰-夜");
  EXPECT_EQ(name_of_prompt("caf\u00e9 \U0001f981 \u202e x"), "caf\u00e9-x");
  EXPECT_EQ(name_of_prompt("../../etc/passwd\n"), "etc-passwd");
  EXPECT_EQ(name_of_prompt("-\xff!"), "picture");
  EXPECT_EQ(name_of_prompt(""), "picture");
}

TEST(NameOfPrompt, KeepsWholeWordsWithinALimit) {
  const std::string word(25, 'a');
  EXPECT_EQ(name_of_prompt(word + " " + word + " " + word), word + "-" + word);
  EXPECT_EQ(name_of_prompt(std::string(300, 'a')), std::string(60, 'a'));
  std::string owls;
  for (int i = 0; i < 100; ++i) owls += "猫";
  EXPECT_EQ(name_of_prompt(owls), owls.substr(0, 60));
}

}  // namespace
}  // namespace ernie_image
