// Ids and texts of the reference's tokenizer, for every tokenizer and golden text there is.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/golden.h"
#include "tokenizer/tokenizer.h"

namespace ernie_image {
namespace {

using golden::Case;
using golden::data_path;
using nlohmann::json;
using Ids = std::vector<std::int32_t>;

json read_json(const std::string& path) {
  std::ifstream file(path);
  return json::parse(file);
}

Ids ids_of(const Tensor& tensor) {
  const auto values = tensor.span<std::int64_t>();
  return {values.begin(), values.end()};
}

std::vector<std::string> subfolders(const std::string& folder) {
  std::vector<std::string> result;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    result.push_back(entry.path().string());
  }
  return result;
}

std::vector<std::string> strings(const json& value) {
  if (value.is_null()) return {};
  if (value.is_string()) return {value.get<std::string>()};
  return value.get<std::vector<std::string>>();
}

std::string without_outer_white_space(const std::string& text) {
  constexpr const char* kWhiteSpace = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(kWhiteSpace);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(kWhiteSpace) - begin + 1);
}

void expect_golden_texts(const Tokenizer& tokenizer, const std::string& name) {
  const json golden = read_json(data_path("reference/tokenizers/goldens/" + name + ".json"));
  ASSERT_EQ(golden["cases"].size(), 32u);
  for (const json& item : golden["cases"]) {
    const auto text = item["text"].get<std::string>();
    const auto ids = item["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.encode_untruncated(text), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids, false), item["decoded"]) << text;
    EXPECT_EQ(tokenizer.decode(ids, true), item["decoded_skip_special"]) << text;
  }
}

TEST(TokenizerGolden, FullTekken) {
  const Tokenizer tokenizer = Tokenizer::open_file(ERNIE_IMAGE_TEKKEN_FULL);
  EXPECT_EQ(tokenizer.vocabulary_size(), 131072);
  expect_golden_texts(tokenizer, "tekken_full");
}

class SmallModel : public ::testing::TestWithParam<std::string> {
 protected:
  Tokenizer open(const std::string& part) const {
    return Tokenizer::open(data_path("reference/models/" + GetParam() + "/" + part));
  }
};

TEST_P(SmallModel, GoldenTexts) { expect_golden_texts(open("tokenizer"), GetParam()); }

TEST_P(SmallModel, PipelineCases) {
  const Tokenizer tokenizer = open("tokenizer");
  int compared = 0;
  for (const std::string& folder : subfolders(data_path("reference/cases/" + GetParam()))) {
    const Case golden_case(folder);
    for (const std::string group : {"prompt", "negative"}) {
      const std::string key = group == "prompt" ? "prompt" : "negative_prompt";
      const auto texts = strings(golden_case.inputs().value(key, json()));
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::string name = "token_ids." + group + "." + std::to_string(i);
        if (!golden_case.tensors.contains(name)) continue;
        EXPECT_EQ(tokenizer.encode(texts[i]), ids_of(golden_case.tensors.tensor(name)))
            << folder << " " << name;
        ++compared;
      }
    }
  }
  EXPECT_GE(compared, 6);
}

TEST_P(SmallModel, PromptEnhancerCases) {
  const Tokenizer tokenizer = open("pe_tokenizer");
  for (const std::string& folder : subfolders(data_path("reference/pe/" + GetParam()))) {
    const Case golden_case(folder);
    EXPECT_EQ(tokenizer.encode_untruncated(golden_case.json["rendered_text"].get<std::string>()),
              ids_of(golden_case.tensors.tensor("input_ids")))
        << folder;
    const Ids greedy_ids = ids_of(golden_case.tensors.tensor("greedy_ids"));
    EXPECT_EQ(without_outer_white_space(tokenizer.decode(greedy_ids, true)),
              golden_case.json["greedy_text_of_those_ids"].get<std::string>())
        << folder;
  }
}

INSTANTIATE_TEST_SUITE_P(TokenizerGolden, SmallModel, ::testing::Values("tiny_a", "tiny_b"),
                         [](const auto& model) { return model.param; });

TEST(TokenizerGolden, EmbeddedModel) {
  const Tokenizer tokenizer = Tokenizer::open("embedded:emoji-tiny/tokenizer");
  for (const json& item : read_json(data_path("emoji-tiny/golden.json"))) {
    EXPECT_EQ(tokenizer.encode(item["prompt"].get<std::string>()), item["token_ids"].get<Ids>());
  }
}

TEST(TokenizerGolden, EmbeddedPromptEnhancer) {
  const Tokenizer tokenizer = Tokenizer::open("embedded:emoji-tiny/pe_tokenizer");
  for (const json& item : read_json(data_path("emoji-tiny/pe_golden.json"))) {
    EXPECT_EQ(tokenizer.encode_untruncated(item["rendered"].get<std::string>()),
              item["input_ids"].get<Ids>());
    EXPECT_EQ(tokenizer.decode(item["greedy_ids"].get<Ids>(), true), item["text"]);
  }
}

}  // namespace
}  // namespace ernie_image
