#include "core/quantization.h"

#include <gtest/gtest.h>

namespace ernie_image {
namespace {

TEST(Quantization, FormatsHaveNames) {
  EXPECT_EQ(format_name(weight_format(Quantization::int8)), "int8");
  EXPECT_EQ(format_name(weight_format(Quantization::int4)), "int4");
  EXPECT_EQ(weight_format(Quantization::none), WeightFormat::plain);
  EXPECT_EQ(packed_format_from_name("int4"), WeightFormat::packed_int4);
  for (const char* other : {"none", "", "INT8", "int8 ", "plain"})
    EXPECT_FALSE(packed_format_from_name(other)) << other;
}

TEST(Quantization, LayersOfTheDecodersArePacked) {
  for (const char* name :
       {"layers.0.self_attention.to_q.weight", "layers.35.mlp.linear_fc2.weight",
        "model.layers.1.self_attn.o_proj.weight", "language_model.layers.1.mlp.up_proj.weight",
        "language_model.model.layers.25.mlp.down_proj.weight", "lm_head.weight"}) {
    EXPECT_TRUE(is_quantized_layer(name)) << name;
    EXPECT_TRUE(is_packed_in_file(name)) << name;
  }
}

TEST(Quantization, AnEmbeddingTableIsPackedAsOutputLayerOnly) {
  for (const char* name : {"model.embed_tokens.weight", "language_model.model.embed_tokens.weight",
                           "embed_tokens.weight"}) {
    EXPECT_TRUE(is_quantized_layer(name)) << name;
    EXPECT_FALSE(is_packed_in_file(name)) << name;
  }
}

TEST(Quantization, AllElseStaysPlain) {
  for (const char* name :
       {"adaLN_modulation.1.weight", "x_embedder.proj.weight", "text_proj.weight",
        "time_embedding.linear_1.weight", "final_norm.linear.weight", "final_linear.weight",
        "vision_tower.transformer.layers.0.attention.q_proj.weight",
        "multi_modal_projector.linear_1.weight", "decoder.mid_block.attentions.0.to_q.weight",
        ""}) {
    EXPECT_FALSE(is_quantized_layer(name)) << name;
    EXPECT_FALSE(is_packed_in_file(name)) << name;
  }
}

}  // namespace
}  // namespace ernie_image
