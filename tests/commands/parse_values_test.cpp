#include "common/parse_values.h"

#include <gtest/gtest.h>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

TEST(ParseInteger, TakesDecimalWithinRange) {
  EXPECT_EQ(parse_integer("--steps", "1", 1, 100), 1);
  EXPECT_EQ(parse_integer("--steps", "010", 1, 100), 10);  // never octal
  EXPECT_EQ(parse_integer("--steps", "100", 1, 100), 100);
}

TEST(ParseInteger, RefusesEverythingElseAndNamesTheRange) {
  for (const char* text : {"", "0", "101", "-3", "1e2", "0x10", "1.5", " 7", "7 ", "+7", "abc",
                           "99999999999999999999999"}) {
    try {
      parse_integer("--steps", text, 1, 100);
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_NE(std::string(error.what()).find("--steps"), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("from 1 to 100"), std::string::npos);
    }
  }
}

TEST(ParseNumber, TakesFiniteNumbersWithinRange) {
  EXPECT_EQ(parse_number("--f", "4.5", 0, 10), 4.5);
  EXPECT_EQ(parse_number("--f", "1e1", 0, 10), 10);
  for (const char* text : {"nan", "inf", "-1", "11", "4,5", "", "1e999", "4f"}) {
    EXPECT_THROW(parse_number("--f", text, 0, 10), Error) << text;
  }
}

TEST(ParseSeeds, TakesOneOrAList) {
  EXPECT_EQ(parse_seeds("--seed", "7"), std::vector<std::uint64_t>({7}));
  EXPECT_EQ(parse_seeds("--seed", "0,18446744073709551615"),
            std::vector<std::uint64_t>({0, ~std::uint64_t{0}}));
}

TEST(ParseSeeds, DrawsRandomOnes) {
  const auto seeds = parse_seeds("--seed", "random,5,random,random");
  ASSERT_EQ(seeds.size(), 4u);
  EXPECT_EQ(seeds[1], 5u);
  EXPECT_FALSE(seeds[0] == seeds[2] && seeds[2] == seeds[3]);  // chance 2^-64
  const auto drawn = parse_seeds("--seed", "-1,-1,-1");
  EXPECT_FALSE(drawn[0] == drawn[1] && drawn[1] == drawn[2]);
}

TEST(ParseSeeds, RefusesNegativeAndEmptyEntries) {
  for (const char* text : {"", "-2", "1,", ",1", "1,,2", "1, 2", "18446744073709551616"}) {
    EXPECT_THROW(parse_seeds("--seed", text), Error) << text;
  }
}

TEST(ParseByteCount, KnowsUnits) {
  EXPECT_EQ(parse_byte_count("--m", "4096"), 4096u);
  EXPECT_EQ(parse_byte_count("--m", "6G"), std::uint64_t{6} << 30);
  EXPECT_EQ(parse_byte_count("--m", "512M"), std::uint64_t{512} << 20);
  EXPECT_EQ(parse_byte_count("--m", "1T"), std::uint64_t{1} << 40);
  EXPECT_EQ(parse_byte_count("--m", "6GB"), std::uint64_t{6} << 30);
  EXPECT_EQ(parse_byte_count("--m", "6GiB"), std::uint64_t{6} << 30);
  EXPECT_EQ(parse_byte_count("--m", "10B"), 10u);
  EXPECT_EQ(parse_byte_count("--m", "1.5G"), std::uint64_t{3} << 29);
  EXPECT_EQ(parse_byte_count("--m", "7.19GiB"), 7720203715u);  // 7.19 * 2^30, rounded up
}

TEST(ParseByteCount, RefusesOverflowAndNonsense) {
  for (const char* text : {"", "G", "0", "-1G", "6GBB", "6BG", "6iB", "6g", "1.5", "1.5B", "1..5G",
                           ".G", "0.0G", "1.5e3G", "99999999999T", "99999999999.5T", "6 G"}) {
    EXPECT_THROW(parse_byte_count("--m", text), Error) << text;
  }
}

TEST(RequireUtf8, RefusesBrokenTextAndNul) {
  EXPECT_NO_THROW(require_utf8("prompt", "熊猫 🐼"));
  EXPECT_THROW(require_utf8("prompt", "a\xff"), Error);
  EXPECT_THROW(require_utf8("prompt", "\xe7\x86"), Error);
  EXPECT_THROW(require_utf8("prompt", std::string_view("a\0b", 3)), Error);
}

TEST(SplitPromptLines, SkipsBlankLinesCommentsAndLineEndsOfEitherKind) {
  EXPECT_EQ(split_prompt_lines("\xEF\xBB\xBF"
                               "# apples\none\r\n\n  \t\r\ntwo \n#\nthree"),
            std::vector<std::string>({"one", "two ", "three"}));
  EXPECT_TRUE(split_prompt_lines("").empty());
  EXPECT_TRUE(split_prompt_lines("\n\n").empty());
}

}  // namespace
}  // namespace ernie_image
