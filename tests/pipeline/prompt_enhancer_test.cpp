// The prompt enhancer against the reference: rendering, ids, logits, greedy text; and the sampling
// filter.
//
// Limits: fp32 logits of a correct second implementation agree to rounding; the smallest margin
// between the best and the second token stored in any case is 5.7e-3, so greedy ids must be equal.
#include "enhance/prompt_enhancer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "ernie_image/pipeline.h"
#include "io/test_files.h"
#include "support/device.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

using golden::Case;

std::vector<std::int32_t> to_ids(const Tensor& tensor) {
  const auto values = tensor.span<std::int64_t>();
  return {values.begin(), values.end()};
}

class GoldenEnhancer : public ::testing::TestWithParam<std::string> {
 protected:
  Case golden_case{golden::data_path("reference/pe/" + GetParam())};
  std::unique_ptr<Backend> ops = make_test_backend();
  PromptEnhancer enhancer{
      *ops, resolve_model(golden::data_path("reference/models/" + GetParam().substr(0, 6))),
      DType::f32};

  Tensor stored(const std::string& name) const { return golden_case.tensors.tensor(name); }
};

TEST_P(GoldenEnhancer, RendersTokenisesAndContinuesGreedilyAsTheReference) {
  const auto& inputs = golden_case.inputs();
  EnhanceOptions options;
  options.temperature = 0;
  std::string streamed;
  options.on_text = [&](const std::string& piece) { streamed += piece; };
  const EnhancedPrompt enhanced =
      enhancer.enhance(inputs["prompt"], inputs["width"], inputs["height"], options);
  EXPECT_EQ(enhanced.rendered_prompt, golden_case.json["rendered_text"]);
  EXPECT_EQ(enhancer.tokenizer().encode_untruncated(enhanced.rendered_prompt),
            to_ids(stored("input_ids")));
  EXPECT_EQ(enhanced.text, golden_case.json["enhanced_prompt_greedy_to_model_max_length"]);
  EXPECT_EQ(strip(streamed), enhanced.text);
  const std::vector<std::int32_t> expected = to_ids(stored("greedy_ids"));
  ASSERT_GE(enhanced.ids.size(), expected.size());
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), enhanced.ids.begin()));
}

TEST_P(GoldenEnhancer, LogitsAgreeInPrefillAndEveryStep) {
  const std::vector<std::int32_t> prompt = to_ids(stored("input_ids"));
  const std::vector<std::int32_t> greedy = to_ids(stored("greedy_ids"));
  KvCache cache = enhancer.model().make_cache(std::ssize(prompt) + std::ssize(greedy), DType::f32);
  Tensor logits = enhancer.model().forward(prompt, cache);
  EXPECT_LE(golden::compare(logits, stored("prefill_last_logits")).nmse, 1e-9);
  const Tensor steps = stored("greedy_step_logits");
  for (std::size_t i = 0; i < greedy.size(); ++i) {
    if (i > 0) logits = enhancer.model().forward({&greedy[i - 1], 1}, cache);
    const Tensor expected = steps.slice(static_cast<std::int64_t>(i), 1).reshaped(logits.shape());
    EXPECT_LE(golden::compare(logits, expected).nmse, 1e-9) << "step " << i;
  }
}

TEST_P(GoldenEnhancer, PrefillInPiecesGivesTheSameLogits) {
  const std::vector<std::int32_t> prompt = to_ids(stored("input_ids"));
  KvCache cache = enhancer.model().make_cache(std::ssize(prompt), DType::f32);
  const std::span<const std::int32_t> ids(prompt);
  enhancer.model().forward(ids.subspan(0, 7), cache);
  const Tensor logits = enhancer.model().forward(ids.subspan(7), cache);
  EXPECT_LE(golden::compare(logits, stored("prefill_last_logits")).nmse, 1e-9);
}

INSTANTIATE_TEST_SUITE_P(Reference, GoldenEnhancer,
                         ::testing::Values("tiny_a/00", "tiny_a/01", "tiny_a/02", "tiny_a/03",
                                           "tiny_b/00", "tiny_b/01", "tiny_b/02", "tiny_b/03"),
                         [](const auto& param_info) {
                           return param_info.param.substr(0, 6) + param_info.param.substr(6 + 1);
                         });

TEST(EmbeddedEnhancer, WritesItsGoldenCaptions) {
  std::ifstream file(golden::data_path("emoji-tiny/pe_golden.json"));
  const auto cases = nlohmann::json::parse(file);
  const auto ops = make_test_backend();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const PromptEnhancer enhancer(*ops, resolve_model(kEmbeddedModel), dtype);
    EnhanceOptions greedy;
    greedy.temperature = 0;
    ASSERT_EQ(cases.size(), 12u);
    for (const auto& golden_case : cases) {
      const EnhancedPrompt enhanced = enhancer.enhance(golden_case["prompt"], golden_case["width"],
                                                       golden_case["height"], greedy);
      EXPECT_EQ(enhanced.rendered_prompt, golden_case["rendered"]);
      EXPECT_EQ(enhanced.ids, golden_case["greedy_ids"].get<std::vector<int>>());
      EXPECT_EQ(enhanced.text, golden_case["text"]);
      EXPECT_TRUE(enhanced.finished);
    }
  }
}

TEST(EmbeddedEnhancer, TheSameSeedWritesTheSameText) {
  const auto ops = make_test_backend();
  const PromptEnhancer enhancer(*ops, resolve_model(kEmbeddedModel), DType::f32);
  EnhanceOptions hot;
  hot.temperature = 5;
  hot.top_p = 1;
  std::set<std::string> texts;
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    hot.seed = seed;
    const std::string first = enhancer.enhance("doggo", 64, 64, hot).text;
    EXPECT_EQ(enhancer.enhance("doggo", 64, 64, hot).text, first);
    texts.insert(first);
  }
  EXPECT_GT(texts.size(), 1u) << "the seed makes no difference";
}

TEST(EmbeddedEnhancer, StopsAtTheTokenLimitAndSaysSo) {
  const auto ops = make_test_backend();
  const PromptEnhancer enhancer(*ops, resolve_model(kEmbeddedModel), DType::f32);
  EnhanceOptions options;
  options.temperature = 0;
  options.max_tokens = 3;
  const EnhancedPrompt enhanced = enhancer.enhance("doggo", 64, 64, options);
  EXPECT_EQ(enhanced.ids.size(), 3u);
  EXPECT_FALSE(enhanced.finished);
}

TEST(EmbeddedEnhancer, APromptThatFillsTheContextIsAnError) {
  const auto ops = make_test_backend();
  const PromptEnhancer enhancer(*ops, resolve_model(kEmbeddedModel), DType::f32);
  std::string prompt;
  for (int i = 0; i < 600; ++i) prompt += "apple ";
  try {
    enhancer.enhance(prompt, 64, 64, {});
    FAIL() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("512"), std::string::npos) << error.what();
  }
}

class ChatTemplateFile : public test::TemporaryFolder {
 protected:
  ChatTemplate open(const std::string& text) const {
    return ChatTemplate::open(write("chat_template.jinja", text));
  }

  std::string released = [] {
    std::ifstream file(
        golden::data_path("reference/models/tiny_b/pe_tokenizer/chat_template.jinja"));
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();
};

TEST_F(ChatTemplateFile, SystemTextIsTakenFromTheFile) {
  EXPECT_EQ(
      open(released).system_text(),
      "Turn the request into one concrete picture description. Reply with the description only.");
  std::string other = released;
  other.replace(other.find("Turn"), 4, "Make of");
  EXPECT_EQ(open(other).render("<s>", "x").substr(0, 25), "<s>[SYSTEM_PROMPT]Make of");
}

TEST_F(ChatTemplateFile, AnotherStructureIsRefused) {
  for (const std::string& text : {std::string(), released.substr(2), released + "{{- 'more' }}",
                                  released.substr(0, released.size() - 12),
                                  "{{- bos_token }}[SYSTEM_PROMPT]{{ now }}" +
                                      released.substr(released.find("[/SYSTEM_PROMPT]"))}) {
    EXPECT_THROW(open(text), Error) << text;
  }
}

TEST(EnhancerRequest, EscapesAsTheReferencesJson) {
  EXPECT_EQ(enhancer_request("a \"b\" \\ \n\r\t\b\f \x01 \x7f 狐", 64, 32),
            "{\"prompt\": \"a \\\"b\\\" \\\\ \\n\\r\\t\\b\\f \\u0001 \x7f 狐\", \"width\": 64, "
            "\"height\": 32}");
}

TEST(Strip, RemovesUnicodeWhiteSpaceAtBothEnds) {
  EXPECT_EQ(strip(" \t\n\u3000a b\u00a0\u2003"), "a b");
  EXPECT_EQ(strip("\u3000 "), "");
  EXPECT_EQ(strip("狐"), "狐");
}

TEST(SamplingDistribution, MatchesTheReferencesFilters) {
  const Case golden_case(golden::data_path("reference/units/sampling"));
  const Tensor logits = golden_case.tensors.tensor("logits");
  for (const auto& setting : golden_case.json["settings"]) {
    const SamplingOptions options{setting["temperature"], setting["top_k"], setting["top_p"]};
    const Tensor expected =
        golden_case.tensors.tensor(setting["label"].get<std::string>() + ".probs");
    for (std::int64_t row = 0; row < logits.dim(0); ++row) {
      auto probabilities = sampling_distribution(logits.slice(row, 1).span<float>(), options);
      // Which of several equal logits are dropped depends on the reference's unstable sort, so the
      // kept probabilities are compared, in order of size.
      std::vector<float> wanted(expected.data<float>() + row * logits.dim(1),
                                expected.data<float>() + (row + 1) * logits.dim(1));
      std::ranges::sort(wanted);
      std::ranges::sort(probabilities);
      std::int64_t kept = 0;
      for (std::size_t i = 0; i < probabilities.size(); ++i) {
        EXPECT_NEAR(probabilities[i], wanted[i], 1e-6) << setting["label"] << " row " << row;
        kept += probabilities[i] != 0;
      }
      EXPECT_EQ(kept, setting["kept_per_row"][static_cast<std::size_t>(row)].get<std::int64_t>());
    }
  }
}

TEST(TokenSampler, DrawsWithTheFilteredProbabilities) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, -30.0f};
  TokenSampler sampler({1.0, 0, 1.0}, 7);
  std::vector<int> counts(4);
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) ++counts[static_cast<std::size_t>(sampler.next(logits))];
  const auto probabilities = sampling_distribution(logits, {1.0, 0, 1.0});
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(counts[i], kDraws * probabilities[i], 5 * std::sqrt(kDraws * 0.25));
}

}  // namespace
}  // namespace ernie_image
