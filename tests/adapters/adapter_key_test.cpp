#include <gtest/gtest.h>

#include "adapters/adapter_key.h"
#include "adapters/module_table.h"

namespace ernie_image {
namespace {

void expect_part(const std::string& suffix, AdapterPart part) {
  const auto key = parse_adapter_key("layers.0.mlp.up_proj" + suffix);
  ASSERT_TRUE(key.has_value()) << suffix;
  EXPECT_EQ(key->path, "layers.0.mlp.up_proj") << suffix;
  EXPECT_EQ(key->part, part) << suffix;
}

TEST(AdapterKey, KnowsEverySpellingOfTheFactors) {
  for (const char* suffix :
       {".lora_A.weight", ".lora_down.weight", ".lora.down.weight", "_lora.down.weight",
        ".lora_linear_layer.down.weight", ".lora_A.default.weight", ".lora_A"})
    expect_part(suffix, AdapterPart::down);
  for (const char* suffix :
       {".lora_B.weight", ".lora_up.weight", ".lora.up.weight", "_lora.up.weight",
        ".lora_linear_layer.up.weight", ".lora_B.default.weight", ".lora_B"})
    expect_part(suffix, AdapterPart::up);
  for (const char* suffix :
       {".dora_scale", ".lora_magnitude_vector", ".lora_magnitude_vector.weight", ".magnitude"})
    expect_part(suffix, AdapterPart::magnitude);
  expect_part(".lora_B.bias", AdapterPart::up_bias);
  expect_part(".lokr_w2", AdapterPart::kron_2);
  expect_part(".lokr_w2_a", AdapterPart::kron_2_a);
  expect_part(".hada_w1_b", AdapterPart::hada_1_b);
  expect_part(".diff", AdapterPart::difference);
  expect_part(".diff_b", AdapterPart::bias_difference);
  expect_part(".set_weight", AdapterPart::replacement);
  expect_part(".lora_embedding_A", AdapterPart::embedding_down);
}

TEST(AdapterKey, IsNoneWithoutAKnownSuffixOrAModule) {
  for (const char* key : {"", ".alpha", "layers.0.weight", "layers.0.alpha2", "alpha"})
    EXPECT_FALSE(parse_adapter_key(key).has_value()) << key;
}

TEST(AdapterKey, OffersTheLongestPrefixFirstAndNoneLast) {
  const auto prefixes = prefixes_of("model.diffusion_model.layers.0");
  ASSERT_EQ(prefixes.size(), 2u);
  EXPECT_EQ(prefixes[0].text, "model.diffusion_model.");
  EXPECT_EQ(prefixes[1].text, "");
  EXPECT_TRUE(prefixes_of("lora_unet_layers_0")[0].is_flattened);
}

TEST(ModuleTable, FindsFlattenedNamesByThoseOfTheModel) {
  ModuleTable table;
  table.add({"layers.0.self_attention.to_out.0", Module::Kind::linear, {8, 8}, false});
  ASSERT_NE(table.find("layers_0_self_attention_to_out_0", true), nullptr);
  EXPECT_EQ(table.find("layers_0_self_attention_to_out_0", true)->name,
            "layers.0.self_attention.to_out.0");
  EXPECT_EQ(table.find("layers_0_self_attention_to_out_0", false), nullptr);
  EXPECT_EQ(table.find("layers.0.self.attention.to.out.0", false), nullptr);
}

}  // namespace
}  // namespace ernie_image
