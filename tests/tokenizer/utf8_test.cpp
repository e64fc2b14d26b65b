#include "tokenizer/utf8.h"

#include <gtest/gtest.h>

namespace ernie_image {
namespace {

TEST(Utf8, AcceptsEveryLength) {
  EXPECT_EQ(find_invalid_utf8("aé猫🐼\u0000\U0010FFFF"), std::nullopt);
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
}

TEST(Utf8, NamesTheFirstByteOfWhatIsIllFormed) {
  EXPECT_EQ(find_invalid_utf8("a\x80"), 1u);             // a continuation alone
  EXPECT_EQ(find_invalid_utf8("猫\xC0\x80"), 3u);        // overlong
  EXPECT_EQ(find_invalid_utf8("\xE0\x9F\xBF"), 0u);      // overlong
  EXPECT_EQ(find_invalid_utf8("ab\xED\xA0\x80"), 2u);    // surrogate
  EXPECT_EQ(find_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // beyond U+10FFFF
  EXPECT_EQ(find_invalid_utf8("\xF5\x80\x80\x80"), 0u);  // no lead byte
  EXPECT_EQ(find_invalid_utf8("ab\xF0\x9F\x90"), 2u);    // cut short
}

// Expected values: bytes.decode("utf-8", errors="replace") of Python.
TEST(Utf8, ReplacesMaximalParts) {
  EXPECT_EQ(replace_invalid_utf8("a\xF0\x9F\x90z"), "a\uFFFDz");
  EXPECT_EQ(replace_invalid_utf8("\xE7\x8C"), "\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("\x80\x80"), "\uFFFD\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("\xF0\x80\x80\x41"), "\uFFFD\uFFFD\uFFFD\u0041");
  EXPECT_EQ(replace_invalid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"),
            "\uFFFD\uFFFD\uFFFD\uFFFD\u0041");
  EXPECT_EQ(replace_invalid_utf8("fine 猫"), "fine 猫");
}

}  // namespace
}  // namespace ernie_image
