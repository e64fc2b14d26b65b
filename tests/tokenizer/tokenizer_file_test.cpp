// tokenizer.json as hostile input, and as one of the many that are not for us.
#include <gtest/gtest.h>

#include "small_tokenizer.h"

namespace ernie_image {
namespace {

using nlohmann::json;
using test::expect_error;
using test::small_tokenizer;

class TokenizerFileTest : public test::TokenizerFolder {
 protected:
  void expect_corrupt(const json& tokenizer, const std::vector<std::string>& parts) const {
    expect_error(ErrorKind::corrupt_file, parts, [&] { open(tokenizer); });
  }
  void expect_unsupported(const json& tokenizer, const std::vector<std::string>& parts) const {
    expect_error(ErrorKind::unsupported, parts, [&] { open(tokenizer); });
  }
  void expect_corrupt_text(const std::string& text, const std::vector<std::string>& parts) const {
    const std::string file = write("tokenizer.json", text);
    expect_error(ErrorKind::corrupt_file, parts, [&] { Tokenizer::open_file(file); });
  }
};

TEST_F(TokenizerFileTest, RejectsWhatIsNoJsonObject) {
  expect_corrupt_text("", {"tokenizer.json"});
  expect_corrupt_text("[]", {"object"});
  expect_corrupt_text("3", {"object"});
  expect_corrupt_text("{\"model\": ", {"tokenizer.json"});
  expect_corrupt_text("{\"a\": \"\xFF\"}", {"tokenizer.json"});
  expect_corrupt_text("{\"a\": 1e999}", {"tokenizer.json"});
  expect_corrupt_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
                      {"lfs"});
}

TEST_F(TokenizerFileTest, EveryTruncationIsAnError) {
  const std::string whole = small_tokenizer().dump();
  for (std::size_t length = 0; length < whole.size(); length += 37) {
    expect_corrupt_text(whole.substr(0, length), {"tokenizer.json"});
  }
}

TEST_F(TokenizerFileTest, RejectsDeepNesting) {
  expect_corrupt_text("{\"a\": " + std::string(100'000, '['), {"nested deeper than 64"});
}

TEST_F(TokenizerFileTest, RejectsGiantArrays) {
  std::string zeros(2'000'001, '0');
  for (std::size_t i = 1; i < zeros.size(); i += 2) zeros[i] = ',';
  expect_corrupt_text("{\"a\": [" + zeros + "]}", {"more than 1000000 values"});
}

TEST_F(TokenizerFileTest, ManyObjectsInAnArrayTakeLinearTime) {
  std::string objects = "{}";
  for (int i = 0; i < 300'000; ++i) objects += ",{}";
  expect_corrupt_text("{\"a\": [" + objects + "]}", {"model"});
}

TEST_F(TokenizerFileTest, RejectsMissingParts) {
  for (const char* key : {"model", "pre_tokenizer", "decoder"}) {
    json tokenizer = small_tokenizer();
    tokenizer.erase(key);
    EXPECT_THROW(open(tokenizer), Error) << key;
  }
  json tokenizer = small_tokenizer();
  tokenizer["model"].erase("vocab");
  expect_corrupt(tokenizer, {"no token for byte 0"});
  tokenizer = small_tokenizer();
  tokenizer["model"]["vocab"].erase("Ā");  // byte 0
  expect_corrupt(tokenizer, {"no token for byte 0"});
}

TEST_F(TokenizerFileTest, OptionalPartsMayBeAbsent) {
  json tokenizer = small_tokenizer();
  for (const char* key : {"added_tokens", "normalizer", "post_processor"}) tokenizer.erase(key);
  tokenizer["model"].erase("merges");
  EXPECT_EQ(open(tokenizer).encode("ab").size(), 2u);
}

TEST_F(TokenizerFileTest, RejectsIdsOutOfRange) {
  for (const json& id : {json(-1), json(1 << 20), json(1ull << 40), json(~0ull)}) {
    json tokenizer = small_tokenizer();
    tokenizer["model"]["vocab"]["new"] = id;
    expect_corrupt(tokenizer, {"new", "id"});
    tokenizer = small_tokenizer();
    tokenizer["added_tokens"].push_back(test::added_token(0, "new", false));
    tokenizer["added_tokens"].back()["id"] = id;
    expect_corrupt(tokenizer, {"new", "id"});
  }
}

TEST_F(TokenizerFileTest, RejectsIdsThatAreNoIntegers) {
  for (const json& id : {json("7"), json(7.5), json(nullptr), json::array(), json::object()}) {
    json tokenizer = small_tokenizer();
    tokenizer["model"]["vocab"]["new"] = id;
    expect_corrupt(tokenizer, {"new"});
    tokenizer = small_tokenizer();
    tokenizer["added_tokens"][0]["id"] = id;
    expect_corrupt(tokenizer, {"added_tokens"});
  }
}

TEST_F(TokenizerFileTest, RejectsDuplicateIdsAndTokens) {
  json tokenizer = small_tokenizer();
  tokenizer["model"]["vocab"]["new"] = test::kAb;
  expect_corrupt(tokenizer, {"new", "ab", "258"});
  tokenizer = small_tokenizer();
  tokenizer["added_tokens"].push_back(test::added_token(test::kAb, "<x>", true));
  expect_corrupt(tokenizer, {"<x>", "ab", "258"});
  tokenizer = small_tokenizer();
  tokenizer["added_tokens"].push_back(test::added_token(300, "ab", true));
  expect_corrupt(tokenizer, {"ab", "258", "300"});
  std::string text = small_tokenizer().dump();
  text.insert(text.find("\"abc\":"), "\"ab\":7777,");
  expect_corrupt_text(text, {"ab", "7777"});
  expect_corrupt_text(R"({"model": {"vocab": {}, "vocab": {}}})", {"twice"});
}

TEST_F(TokenizerFileTest, RejectsEmptyTokens) {
  json tokenizer = small_tokenizer();
  tokenizer["model"]["vocab"][""] = 300;
  expect_corrupt(tokenizer, {"empty token"});
  tokenizer = small_tokenizer();
  tokenizer["added_tokens"].push_back(test::added_token(300, "", false));
  expect_corrupt(tokenizer, {"content"});
  tokenizer = small_tokenizer();
  tokenizer["added_tokens"].push_back(test::added_token(300, std::string(1025, 'x'), false));
  expect_corrupt(tokenizer, {"content", "1024"});
}

TEST_F(TokenizerFileTest, RejectsMergesOfUnknownTokens) {
  for (const json& merge : {json{"a", "q!"}, json{"q!", "a"}, json{"b", "a"}, json("b a")}) {
    json tokenizer = small_tokenizer();
    tokenizer["model"]["merges"].push_back(merge);
    expect_corrupt(tokenizer, {"merges[4]", "model.vocab"});
  }
}

TEST_F(TokenizerFileTest, RejectsMalformedMerges) {
  for (const json& merge : {json("ab"), json("a b c"), json(" b"), json("a "), json(""), json(7),
                            json{"a"}, json{"a", "b", "c"}, json{"a", 7}, json{"a", ""},
                            json{"a", json::array()}, json::array(), json::object()}) {
    json tokenizer = small_tokenizer();
    tokenizer["model"]["merges"].push_back(merge);
    expect_corrupt(tokenizer, {"merges[4]"});
  }
}

TEST_F(TokenizerFileTest, RejectsVocabularyAndMergesOfAnotherType) {
  for (const json& wrong : {json(7), json("x"), json{{"a", "b"}}, json(true)}) {
    json tokenizer = small_tokenizer();
    tokenizer["model"]["merges"] = wrong;
    expect_corrupt(tokenizer, {"model.merges", "array"});
  }
  for (const json& wrong : {json(7), json("x"), json::array({1})}) {
    json tokenizer = small_tokenizer();
    tokenizer["model"]["vocab"] = wrong;
    expect_corrupt(tokenizer, {"model.vocab", "object"});
  }
}

TEST_F(TokenizerFileTest, RefusesOtherModels) {
  json tokenizer = small_tokenizer();
  tokenizer["model"]["type"] = "Unigram";
  expect_unsupported(tokenizer, {"Unigram", "BPE"});
}

TEST_F(TokenizerFileTest, RefusesSwitchesThatWouldChangeIds) {
  const json switches = {{"dropout", 0.1},
                         {"byte_fallback", true},
                         {"continuing_subword_prefix", "##"},
                         {"end_of_word_suffix", "</w>"}};
  for (const auto& [key, value] : switches.items()) {
    json tokenizer = small_tokenizer();
    tokenizer["model"][key] = value;
    expect_unsupported(tokenizer, {key});
  }
}

TEST_F(TokenizerFileTest, RefusesAddedTokensWithSpecialMatching) {
  for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
    json tokenizer = small_tokenizer();
    tokenizer["added_tokens"][0][flag] = true;
    expect_unsupported(tokenizer, {"<s>", flag});
  }
}

TEST_F(TokenizerFileTest, RefusesANormalizer) {
  json tokenizer = small_tokenizer();
  tokenizer["normalizer"] = {{"type", "NFC"}};
  expect_unsupported(tokenizer, {"normalizer", "NFC"});
  tokenizer["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "Lowercase"}}}}};
  expect_unsupported(tokenizer, {"normalizer"});
  tokenizer["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array()}};
  EXPECT_NO_THROW(open(tokenizer));
}

TEST_F(TokenizerFileTest, RefusesOtherPreTokenizers) {
  const auto changed = [](const std::function<void(json&, json&)>& change) {
    json tokenizer = small_tokenizer();
    json& parts = tokenizer["pre_tokenizer"]["pretokenizers"];
    change(parts[0], parts[1]);
    return tokenizer;
  };
  expect_unsupported(changed([](json& split, json&) { split["behavior"] = "Removed"; }),
                     {"Removed"});
  expect_unsupported(changed([](json& split, json&) { split["invert"] = true; }), {"invert"});
  expect_unsupported(changed([](json& split, json&) {
                       split["pattern"] = {{"String", " "}};
                     }),
                     {"Regex"});
  expect_unsupported(changed([](json& split, json&) {
                       split["pattern"] = {{"Regex", "(["}};
                     }),
                     {"regex"});
  expect_unsupported(changed([](json&, json& bytes) { bytes["use_regex"] = true; }), {"use_regex"});
  expect_unsupported(changed([](json&, json& bytes) { bytes.erase("add_prefix_space"); }),
                     {"add_prefix_space"});
  expect_unsupported(changed([](json&, json& bytes) { bytes["type"] = "Digits"; }), {"ByteLevel"});
}

TEST_F(TokenizerFileTest, RefusesOtherPostProcessorsAndDecoders) {
  json tokenizer = small_tokenizer();
  tokenizer["post_processor"] = {{"type", "BertProcessing"}};
  expect_unsupported(tokenizer, {"post_processor", "BertProcessing"});
  tokenizer = small_tokenizer();
  tokenizer["decoder"] = {{"type", "Metaspace"}};
  expect_unsupported(tokenizer, {"decoder", "Metaspace"});
}

TEST_F(TokenizerFileTest, RejectsTemplatesThatMakeNoSense) {
  const auto expect_bad_single = [&](const json& single) {
    json tokenizer = small_tokenizer();
    tokenizer["post_processor"] = test::bos_template();
    tokenizer["post_processor"]["single"] = single;
    expect_corrupt(tokenizer, {"post_processor"});
  };
  const json text = {{"Sequence", {{"id", "A"}}}};
  expect_bad_single(json::array());
  expect_bad_single({text, text});
  expect_bad_single({{{"Sequence", {{"id", "B"}}}}});
  expect_bad_single({text, {{"SpecialToken", {{"id", "<missing>"}}}}});
  expect_bad_single({text, 7});
  expect_bad_single(json(100, text));
  for (const json& ids : {json{262}, json{-1}, json{"0"}, json{0.5}, json(1000, 0)}) {
    json tokenizer = small_tokenizer();
    tokenizer["post_processor"] = test::bos_template();
    tokenizer["post_processor"]["special_tokens"]["<s>"]["ids"] = ids;
    expect_corrupt(tokenizer, {"post_processor"});
  }
}

TEST_F(TokenizerFileTest, RejectsWrongTypesEverywhere) {
  const json flat = small_tokenizer().flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (pointer.starts_with("/model/vocab") || pointer.starts_with("/model/merges")) continue;
    for (const json& wrong : {json(7), json{7}, json{{"x", 7}}, json("x")}) {
      if (wrong.type() == value.type()) continue;
      json tokenizer = small_tokenizer();
      tokenizer[json::json_pointer(pointer)] = wrong;
      try {
        open(tokenizer);  // some members do not matter; none may do worse than throw Error
      } catch (const Error&) {
      }
    }
  }
}

}  // namespace
}  // namespace ernie_image
