#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "small_tokenizer.h"

namespace ernie_image {
namespace {

using test::byte_id;
using test::expect_error;
using test::small_tokenizer;
using Ids = std::vector<std::int32_t>;

class TokenizerTest : public test::TokenizerFolder {};

TEST_F(TokenizerTest, MergesLowestRankFirstThenLeftmost) {
  const Tokenizer tokenizer = open(small_tokenizer());
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{test::kAbc}));
  EXPECT_EQ(tokenizer.encode("bc"), (Ids{test::kBc}));
  EXPECT_EQ(tokenizer.encode("abab"), (Ids{test::kAb, test::kAb}));
  // " "+a has the highest rank: by the time it is looked at, the a is part of "ab".
  EXPECT_EQ(tokenizer.encode(" ab"), (Ids{byte_id(' '), test::kAb}));
  EXPECT_EQ(tokenizer.encode(" aa"), (Ids{test::kSpaceA, byte_id('a')}));
}

TEST_F(TokenizerTest, TiesGoToTheLeft) {
  auto definition = small_tokenizer();
  definition["model"]["vocab"]["aa"] = 262;
  definition["model"]["merges"] = nlohmann::json::array({{"a", "a"}});
  EXPECT_EQ(open(definition).encode("aaaaa"), (Ids{262, 262, byte_id('a')}));
}

TEST_F(TokenizerTest, OfEqualMergesTheLastCounts) {
  auto definition = small_tokenizer();  // a+b again, now behind b+c
  definition["model"]["merges"] = nlohmann::json::array({{"a", "b"}, {"b", "c"}, {"a", "b"}});
  EXPECT_EQ(open(definition).encode("abc"), (Ids{byte_id('a'), test::kBc}));
}

TEST_F(TokenizerTest, ReadsMergesWrittenAsOneString) {
  auto definition = small_tokenizer();
  definition["model"]["merges"] = {"a b", "b c", "ab c", "Ġ a"};
  EXPECT_EQ(open(definition).encode("abc aa"), (Ids{test::kAbc, test::kSpaceA, byte_id('a')}));
}

TEST_F(TokenizerTest, IgnoreMergesTakesWholePiecesFromTheVocabulary) {
  auto definition = small_tokenizer();
  definition["model"]["merges"] = nlohmann::json::array();
  EXPECT_EQ(open(definition).encode("abc"), (Ids{byte_id('a'), byte_id('b'), byte_id('c')}));
  definition["model"]["ignore_merges"] = true;
  EXPECT_EQ(open(definition).encode("abc abcd"), (Ids{test::kAbc, byte_id(' '), byte_id('a'),
                                                      byte_id('b'), byte_id('c'), byte_id('d')}));
}

TEST_F(TokenizerTest, CutsAddedTokensOutOfTheTextFirst) {
  const Tokenizer tokenizer = open(small_tokenizer());
  EXPECT_EQ(tokenizer.encode("a</s>b<s>"), (Ids{byte_id('a'), 1, byte_id('b'), 0}));
  EXPECT_EQ(tokenizer.encode("<</s"),
            (Ids{byte_id('<'), byte_id('<'), byte_id('/'), byte_id('s')}));
}

TEST_F(TokenizerTest, NormalizedAddedTokensAreSearchedForSecond) {
  auto definition = small_tokenizer();
  definition["added_tokens"].push_back(test::added_token(262, "x<s", false));
  EXPECT_EQ(open(definition).encode("x<s>"), (Ids{262, byte_id('>')}));
  definition["added_tokens"][2]["normalized"] = true;
  EXPECT_EQ(open(definition).encode("x<s>"), (Ids{byte_id('x'), 0}));
  EXPECT_EQ(open(definition).encode("x<s"), (Ids{262}));
}

TEST_F(TokenizerTest, TemplateAddsBos) {
  auto definition = small_tokenizer();
  definition["post_processor"] = test::bos_template();
  EXPECT_EQ(open(definition).encode("ab"), (Ids{0, test::kAb}));
  EXPECT_EQ(open(definition).encode(""), (Ids{0}));
  const nlohmann::json byte_level = {{"type", "ByteLevel"}};
  definition["post_processor"] = {{"type", "Sequence"},
                                  {"processors", {byte_level, test::bos_template()}}};
  EXPECT_EQ(open(definition).encode("ab"), (Ids{0, test::kAb}));
}

TEST_F(TokenizerTest, TruncationCountsWhatTheTemplateAdds) {
  auto definition = small_tokenizer();
  definition["post_processor"] = test::bos_template();
  definition["post_processor"]["single"].push_back({{"SpecialToken", {{"id", "<s>"}}}});
  const Tokenizer tokenizer = open(definition, {{"model_max_length", 4}});
  EXPECT_EQ(tokenizer.model_max_length(), 4);
  EXPECT_EQ(tokenizer.encode("xyz"), (Ids{0, byte_id('x'), byte_id('y'), 0}));
  EXPECT_EQ(tokenizer.encode_untruncated("xyz"),
            (Ids{0, byte_id('x'), byte_id('y'), byte_id('z'), 0}));
}

TEST_F(TokenizerTest, EmptyResultBecomesBosOrZero) {
  EXPECT_EQ(open(small_tokenizer()).encode(""), (Ids{0}));
  EXPECT_EQ(open(small_tokenizer()).encode_untruncated(""), (Ids{}));
  EXPECT_EQ(open(small_tokenizer(), {{"bos_token", "</s>"}}).encode(""), (Ids{1}));
}

TEST_F(TokenizerTest, RefusesTextThatIsNotUtf8NamingTheByte) {
  const Tokenizer tokenizer = open(small_tokenizer());
  expect_error(ErrorKind::invalid_argument, {"UTF-8", "byte 2"},
               [&] { tokenizer.encode("ab\xFFzz"); });
  expect_error(ErrorKind::invalid_argument, {"byte 0"},
               [&] { tokenizer.encode_untruncated("\xED\xA0\x80"); });  // a surrogate
}

TEST_F(TokenizerTest, TextMayHoldNulBytes) {
  const Tokenizer tokenizer = open(small_tokenizer());
  EXPECT_EQ(tokenizer.encode(std::string_view("a\0b", 3)),
            (Ids{byte_id('a'), byte_id('\0'), byte_id('b')}));
}

TEST_F(TokenizerTest, DecodesBytesAndReplacesWhatIsNoUtf8) {
  const Tokenizer tokenizer = open(small_tokenizer());
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("ab 猫\n"), false), "ab 猫\n");
  const Ids half_a_cat = {byte_id('\xE7'), byte_id('\x8C'), test::kAb};
  EXPECT_EQ(tokenizer.decode(half_a_cat, false), "\uFFFDab");
}

TEST_F(TokenizerTest, DecodeSkipsSpecialTokensOnlyWhenAsked) {
  auto definition = small_tokenizer();
  definition["added_tokens"].push_back(test::added_token(262, "a token", false));
  const Tokenizer tokenizer = open(definition);
  const Ids ids = {0, test::kAb, 262, 1};
  EXPECT_EQ(tokenizer.decode(ids, false), "<s>aba token</s>");
  EXPECT_EQ(tokenizer.decode(ids, true), "aba token");
}

TEST_F(TokenizerTest, DecodeSkipsIdsWithoutAToken) {
  const Tokenizer tokenizer = open(small_tokenizer());
  EXPECT_EQ(tokenizer.decode(Ids{-1, test::kAb, 262, 2147483647, -2147483647 - 1}, false), "ab");
}

TEST_F(TokenizerTest, LooksTokensUpByTheirSpelling) {
  const Tokenizer tokenizer = open(small_tokenizer(), {{"bos_token", "<s>"}});
  EXPECT_EQ(tokenizer.id_of("Ġa"), test::kSpaceA);
  EXPECT_EQ(tokenizer.id_of("nothing"), std::nullopt);
  EXPECT_EQ(tokenizer.id_of(""), std::nullopt);
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.vocabulary_size(), 262);
}

// A quadratic method would take minutes: the single piece has 400,000 bytes.
TEST_F(TokenizerTest, LongPiecesTakeNearLinearTime) {
  const Tokenizer tokenizer = open(small_tokenizer());
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "ab";
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(tokenizer.encode(text).size(), 200'000u);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

TEST_F(TokenizerTest, ThreadsMayShareATokenizer) {
  const Tokenizer tokenizer = open(small_tokenizer());
  const std::string text = "abc ab</s> 猫 aa\n\n b";
  const Ids expected = tokenizer.encode(text);
  std::vector<int> equal(4, 0);
  std::vector<std::thread> threads;
  for (int& count : equal) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) count += tokenizer.encode(text) == expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, (std::vector<int>{200, 200, 200, 200}));
}

TEST_F(TokenizerTest, MissingFolderIsNotFound) {
  expect_error(ErrorKind::not_found, {"tokenizer.json"}, [&] { Tokenizer::open(path("nowhere")); });
}

}  // namespace
}  // namespace ernie_image
