// What tokenizer_config.json changes.
#include <gtest/gtest.h>

#include "small_tokenizer.h"

namespace ernie_image {
namespace {

using nlohmann::json;
using test::expect_error;
using test::small_tokenizer;
using Ids = std::vector<std::int32_t>;

class TokenizerConfigTest : public test::TokenizerFolder {
 protected:
  void expect_refused(ErrorKind kind, const json& config,
                      const std::vector<std::string>& parts) const {
    expect_error(kind, parts, [&] { open(small_tokenizer(), config); });
  }
};

TEST_F(TokenizerConfigTest, HugeMaximumLengthsMeanNone) {
  EXPECT_EQ(open(small_tokenizer(), {{"model_max_length", 1e30}}).model_max_length(), std::nullopt);
  EXPECT_EQ(open(small_tokenizer(), {{"model_max_length", 1000000000}}).model_max_length(),
            std::nullopt);
  EXPECT_EQ(open(small_tokenizer(), json::object()).model_max_length(), std::nullopt);
  EXPECT_EQ(open(small_tokenizer(), {{"model_max_length", 72.0}}).model_max_length(), 72);
}

TEST_F(TokenizerConfigTest, RejectsOtherMaximumLengths) {
  for (const json& length : {json(0), json(-5), json("many"), json(true)}) {
    expect_refused(ErrorKind::corrupt_file, {{"model_max_length", length}}, {"model_max_length"});
  }
}

TEST_F(TokenizerConfigTest, BosMayBeTextOrAnObject) {
  EXPECT_EQ(open(small_tokenizer(), {{"bos_token", "<s>"}}).bos_id(), 0);
  EXPECT_EQ(open(small_tokenizer(), {{"bos_token", {{"content", "</s>"}}}}).bos_id(), 1);
  EXPECT_EQ(open(small_tokenizer(), {{"bos_token", nullptr}}).bos_id(), std::nullopt);
}

TEST_F(TokenizerConfigTest, RefusesNamedTokensThatAreNotAdded) {
  expect_refused(ErrorKind::unsupported, {{"bos_token", "<start>"}}, {"bos_token", "<start>"});
  expect_refused(ErrorKind::unsupported, {{"pad_token", "ab"}}, {"pad_token"});
  expect_refused(ErrorKind::corrupt_file, {{"bos_token", 1}}, {"bos_token"});
}

TEST_F(TokenizerConfigTest, AddBosAndAddEosReplaceThePostProcessor) {
  json tokenizer = small_tokenizer();
  json config = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"add_eos_token", true}};
  tokenizer["post_processor"] = test::bos_template();
  EXPECT_EQ(open(tokenizer, config).encode("ab"), (Ids{test::kAb, 1}));
  config["add_bos_token"] = true;
  EXPECT_EQ(open(tokenizer, config).encode("ab"), (Ids{0, test::kAb, 1}));
  config = {{"bos_token", "<s>"}, {"add_bos_token", false}};
  EXPECT_EQ(open(tokenizer, config).encode("ab"), (Ids{test::kAb}));
}

TEST_F(TokenizerConfigTest, AddedTokensDecoderAddsTokens) {
  json config;
  config["added_tokens_decoder"]["262"] = test::added_token(262, "<x>", true);
  config["added_tokens_decoder"]["0"] = test::added_token(0, "<s>", true);
  EXPECT_EQ(open(small_tokenizer(), config).encode("<x>ab"), (Ids{262, test::kAb}));
}

TEST_F(TokenizerConfigTest, AddedTokensDecoderMustAgreeWithTheTokenizer) {
  for (const char* key : {"258", "-1", "x", "", "99999999999999999999"}) {
    json config;
    config["added_tokens_decoder"][key] = test::added_token(0, "<x>", true);
    expect_refused(ErrorKind::corrupt_file, config, {"added_tokens_decoder"});
  }
  expect_refused(ErrorKind::corrupt_file, {{"added_tokens_decoder", {1, 2}}}, {"object"});
}

TEST_F(TokenizerConfigTest, RefusesWhatWouldChangeIds) {
  expect_refused(ErrorKind::unsupported, {{"split_special_tokens", true}},
                 {"split_special_tokens"});
  expect_refused(ErrorKind::unsupported, {{"truncation_side", "left"}}, {"truncation_side"});
}

}  // namespace
}  // namespace ernie_image
