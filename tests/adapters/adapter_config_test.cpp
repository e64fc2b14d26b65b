#include <gtest/gtest.h>

#include "adapters/adapter_config.h"
#include "io/test_files.h"

namespace ernie_image {
namespace {

AdapterConfig parsed(const std::string& json) { return AdapterConfig::parse(json, "config"); }

TEST(AdapterConfig, PatternsStandForWholeDottedPartsAtTheEnd) {
  const AdapterConfig config =
      parsed(R"({"lora_alpha": 6, "alpha_pattern": {"to_v": 9, "layers\\.0\\.mlp\\.up_proj": 2}})");
  EXPECT_EQ(config.alpha("layers.0.self_attention.to_v"), 9);
  EXPECT_EQ(config.alpha("to_v"), 9);
  EXPECT_EQ(config.alpha("layers.0.mlp.up_proj"), 2);
  EXPECT_EQ(config.alpha("layers.1.mlp.up_proj"), 6);
  EXPECT_EQ(config.alpha("layers.0.self_attention.not_to_v"), 6);
  EXPECT_EQ(config.alpha("layers.0.self_attention.to_v.more"), 6);
}

TEST(AdapterConfig, FirstPatternOfTheFileCounts) {
  const char* const text = R"({"alpha_pattern": {"mlp.up_proj": 1, "a.*": 2, "up_proj": 3}})";
  EXPECT_EQ(parsed(text).alpha("layers.0.mlp.up_proj"), 1);
  EXPECT_EQ(parsed(R"({"alpha_pattern": {"up_proj": 3, "mlp.up_proj": 1}})")
                .alpha("layers.0.mlp.up_proj"),
            3);
}

TEST(AdapterConfig, ReadsWhatDiffusersCopiesOfIt) {
  const char* const text =
      R"({"transformer.r": 4, "transformer.lora_alpha": 6, "transformer.use_rslora": true,
          "transformer.alpha_pattern": {"to_q": 2}})";
  const auto config = AdapterConfig::parse_metadata(text, "transformer", "header");
  ASSERT_TRUE(config.has_value());
  EXPECT_EQ(config->alpha("layers.0.self_attention.to_q"), 2);
  EXPECT_EQ(config->alpha("layers.0.self_attention.to_k"), 6);
  EXPECT_TRUE(config->uses_rslora());
  EXPECT_FALSE(AdapterConfig::parse_metadata(text, "text_encoder", "header").has_value());
}

TEST(AdapterConfig, LokrAndLohaCallItAlpha) {
  const AdapterConfig config =
      parsed(R"({"peft_type": "LOKR", "alpha": 3, "lora_alpha": 5, "r": 2})");
  EXPECT_EQ(config.alpha("x"), 3);
  EXPECT_EQ(config.rank("x"), 2);
}

TEST(AdapterConfig, RefusesWhatItCannotMean) {
  using test::expect_error;
  const auto refuses = [](ErrorKind kind, const std::string& text,
                          const std::vector<std::string>& parts) {
    expect_error(kind, parts, [&] { parsed(text); });
  };
  refuses(ErrorKind::corrupt_file, "[]", {"config", "no JSON object"});
  refuses(ErrorKind::corrupt_file, "{", {"config", "not valid JSON"});
  refuses(ErrorKind::corrupt_file, R"({"lora_alpha": "6"})", {"lora_alpha", "a number"});
  refuses(ErrorKind::corrupt_file, R"({"use_rslora": 1})", {"use_rslora", "true or false"});
  refuses(ErrorKind::corrupt_file, R"({"alpha_pattern": {"a": []}})", {"alpha_pattern"});
  refuses(ErrorKind::unsupported, R"({"alpha_pattern": {"(": 1}})", {"alpha_pattern", "regular"});
  refuses(ErrorKind::unsupported, R"({"peft_type": "BOFT"})", {"BOFT", "LORA, LOHA and LOKR"});
  std::string many = R"({"alpha_pattern": {)";
  for (int i = 0; i < 20000; ++i) many += "\"a" + std::to_string(i) + "\": 1, ";
  refuses(ErrorKind::corrupt_file, many + "\"b\": 1}}", {"20001 members"});
}

TEST(AdapterConfig, EndlessBacktrackingIsAnError) {
  const AdapterConfig config = parsed(R"({"alpha_pattern": {"(a+)+[bc]": 1}})");
  test::expect_error(ErrorKind::unsupported, {"alpha_pattern", "(a+)+[bc]"},
                     [&] { config.alpha(std::string(64, 'a')); });
}

}  // namespace
}  // namespace ernie_image
