#include "tokenizer/added_tokens.h"

#include <gtest/gtest.h>

#include <string>

namespace ernie_image {

bool operator==(const Segment& a, const Segment& b) { return a.text == b.text && a.id == b.id; }

namespace {

using Segments = std::vector<Segment>;

TEST(AddedTokenMatcher, LeftmostThenLongestWins) {
  AddedTokenMatcher matcher;
  matcher.add("ab", 1);
  matcher.add("abcd", 2);
  matcher.add("bcdef", 3);
  EXPECT_EQ(matcher.split("xabcdefab"), (Segments{{"x"}, {"abcd", 2}, {"ef"}, {"ab", 1}}));
  EXPECT_EQ(matcher.split("abcx"), (Segments{{"ab", 1}, {"cx"}}));
}

TEST(AddedTokenMatcher, NoEmptySegments) {
  AddedTokenMatcher matcher;
  EXPECT_EQ(matcher.split(""), Segments{});
  EXPECT_EQ(matcher.split("abc"), (Segments{{"abc"}}));
  matcher.add("a", 7);
  EXPECT_EQ(matcher.split("aa"), (Segments{{"a", 7}, {"a", 7}}));
}

TEST(AddedTokenMatcher, LaterTokenReplacesAnEqualOne) {
  AddedTokenMatcher matcher;
  matcher.add("a", 7);
  matcher.add("a", 8);
  EXPECT_EQ(matcher.split("a"), (Segments{{"a", 8}}));
}

}  // namespace
}  // namespace ernie_image
