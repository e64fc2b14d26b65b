#include "tokenizer/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "io/test_files.h"

namespace ernie_image {
namespace {

using Pieces = std::vector<std::string_view>;

constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Pieces split(const std::string& regex, std::string_view text) {
  return PreTokenizer(regex, "test").split(text);
}

TEST(PreTokenizer, SplitsLikeTekken) {
  EXPECT_EQ(split(kTekken, "Hello, World!  It's 42"),
            (Pieces{"Hello", ",", " World", "!", " ", " It", "'s", " ", "4", "2"}));
  EXPECT_EQ(split(kTekken, "iPhone红苹果 \r\n\n x "),
            (Pieces{"i", "Phone红苹果", " \r\n\n", " x", " "}));
}

TEST(PreTokenizer, KeepsTheTextBetweenMatches) {
  EXPECT_EQ(split("b+", "aabbcbd"), (Pieces{"aa", "bb", "c", "b", "d"}));
  EXPECT_EQ(split("x", "aab"), (Pieces{"aab"}));
  EXPECT_EQ(split("x", ""), (Pieces{}));
}

TEST(PreTokenizer, EmptyMatchesSplitBetweenCharacters) {
  EXPECT_EQ(split("x*", "aé猫"), (Pieces{"a", "é", "猫"}));
  EXPECT_EQ(split("(?=b)", "aabb"), (Pieces{"aa", "b", "b"}));
}

// Categories of Unicode 16, which the reference's engine has, whatever PCRE2 is installed.
TEST(PreTokenizer, KnowsRecentCharacters) {
  EXPECT_EQ(split(kTekken, "\U00031350\U00031351."), (Pieces{"\U00031350\U00031351", "."}));
  EXPECT_EQ(split(R"(\p{N})", "\U00011F50\U00011F51"), (Pieces{"\U00011F50", "\U00011F51"}));
  EXPECT_EQ(split(R"(\d)", "\U00011F50x"), (Pieces{"\U00011F50", "x"}));
}

TEST(PreTokenizer, WhiteSpaceIsUnicodesWhiteSpace) {
  EXPECT_EQ(split(R"(\s+)", "a\u3000\u0085\u2028b"), (Pieces{"a", "\u3000\u0085\u2028", "b"}));
  EXPECT_EQ(split(R"(\s+)", "a\u180Eb"), (Pieces{"a\u180Eb"}));  // was a space until Unicode 6.3
  EXPECT_EQ(split(R"([^\s]+)", "a\u180E b"), (Pieces{"a\u180E", " ", "b"}));
  EXPECT_EQ(split(R"(\S+)", "a\u180E b"), (Pieces{"a\u180E", " ", "b"}));
}

TEST(PreTokenizer, RefusesWhatTheEnginesReadDifferently) {
  for (const char* regex : {R"(\w+)", R"(\h)", R"(\b)", R"(a\Kb)", R"(\C)", R"(\Qa\E)",
                            R"([a[bc]])", "[a-z&&[^b]]", "(?s).", "(?m).", "(?<name>a)", "(*UTF)a",
                            "a{,3}", "a{2}+", "[]a]", R"([\S\d])", R"(\p{^L})", R"(\pL)", "\\"}) {
    test::expect_error(ErrorKind::unsupported, {"test", "regex"}, [&] { split(regex, "a"); });
  }
}

TEST(PreTokenizer, RefusesInvalidRegexes) {
  for (const char* regex : {"(", "[a", "a{3,2}", "*", R"(\p{Klingon})", R"(\p{)", R"(\x{110000})",
                            "(?:(?:(?:a{999}){999}){999}){999}"}) {
    test::expect_error(ErrorKind::unsupported, {"test", "regex"}, [&] { split(regex, "a"); });
  }
  test::expect_error(ErrorKind::unsupported, {"16384"},
                     [] { split(std::string(20'000, 'a'), "a"); });
}

TEST(PreTokenizer, CatastrophicBacktrackingIsAnErrorNotAHang) {
  const std::string text(5'000, 'a');
  for (const char* regex : {"(?:a+)+[bc]", "(?:a|a)*[bc]", "(?:a*)*[bc]", "a*a*a*a*a*[bc]"}) {
    test::expect_error(ErrorKind::unsupported, {"regex"}, [&] { split(regex, text); });
  }
}

/// Each match looks at the rest of the text, and each is within PCRE2's limits.
TEST(PreTokenizer, LookingAheadAtEveryPlaceIsAnErrorNotAHang) {
  const std::string text(1 << 20, 'a');
  test::expect_error(ErrorKind::unsupported, {"test", "a(?=[ab]*c)|a", "1048576 bytes"},
                     [&] { split("a(?=[ab]*c)|a", text); });
}

TEST(PreTokenizer, LongRunsAreOnePiece) {
  for (const char* run : {"a", "A", "猫", "!", " ", "\n"}) {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += run;
    EXPECT_EQ(split(kTekken, text).size(), 1u) << run;
  }
}

TEST(PcreOfOniguruma, LeavesTheRestAlone) {
  const std::string regex = R"((?i:'s|'t)|[^\r\n]?x{1,3}\.\[(?!\x41)|.$)";
  EXPECT_EQ(pcre2_of_oniguruma(regex), regex);
}

}  // namespace
}  // namespace ernie_image
