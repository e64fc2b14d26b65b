#include "io/text_encoding.h"

#include <gtest/gtest.h>

namespace ernie_image {
namespace {

TEST(TextEncoding, DecodesEveryLengthOfUtf8) {
  EXPECT_EQ(decode_utf8("a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x90\xbc"), U"a\u00e9\u4e2d\U0001F43C");
  EXPECT_EQ(decode_utf8(""), U"");
}

TEST(TextEncoding, RejectsWhatIsNotUtf8) {
  for (const char* text :
       {"\x80", "\xff", "\xc3", "\xc3(", "\xe4\xb8", "\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80",
        "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80"}) {
    EXPECT_FALSE(decode_utf8(text).has_value()) << testing::PrintToString(text);
  }
}

TEST(TextEncoding, Latin1BecomesUtf8) {
  EXPECT_EQ(utf8_from_latin1("caf\xe9 \x80\xff"), "café \xc2\x80\xc3\xbf");
}

TEST(TextEncoding, EmojiBecomeSurrogatePairs) {
  EXPECT_EQ(utf16be_from_code_points(U"A\u4e2d\U0001F43C"),
            std::string("\0A\x4e\x2d\xd8\x3d\xdc\x3c", 8));
}

}  // namespace
}  // namespace ernie_image
