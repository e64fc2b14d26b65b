#include "core/quantization.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ernie_image {
namespace {

/// A component of 36 layers.
class Component : public WeightSource {
 public:
  bool contains(std::string_view name) const override {
    for (const char* beyond : {"layers.36.", "layers.37."}) {
      if (name.starts_with(beyond)) return false;
    }
    return true;
  }
  Weight get(const std::string&, const Shape&) override { return {}; }
  void require_complete() const override {}
  std::vector<std::string> unused() const override { return {}; }
  void release_pages() const override {}
};

const Component kComponent;

constexpr Quantization kAll[] = {Quantization::none, Quantization::int8, Quantization::int4};

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
    for (const Quantization wanted : kAll) {
      EXPECT_EQ(layer_quantization(kComponent, name, wanted), wanted) << name;
      EXPECT_EQ(format_in_file(kComponent, name, wanted), weight_format(wanted)) << name;
    }
  }
}

TEST(Quantization, ValuesAndOutputsOfTheTransformersAttentionHaveEightBits) {
  for (const char* name :
       {"layers.0.self_attention.to_v.weight", "layers.35.self_attention.to_out.0.weight"}) {
    EXPECT_EQ(layer_quantization(kComponent, name, Quantization::int4), Quantization::int8) << name;
    EXPECT_EQ(layer_quantization(kComponent, name, Quantization::none), Quantization::none) << name;
    EXPECT_EQ(format_in_file(kComponent, name, Quantization::int4), WeightFormat::packed_int8)
        << name;
  }
}

TEST(Quantization, ThoseOfTheLastTwoLayersStayPlainUnder8Bits) {
  const auto layer = [](int index, const std::string& module) {
    return "layers." + std::to_string(index) + ".self_attention." + module + ".weight";
  };
  for (const char* module : {"to_v", "to_out.0"}) {
    for (const int index : {0, 1, 33}) {
      const std::string name = layer(index, module);
      EXPECT_EQ(layer_quantization(kComponent, name, Quantization::int8), Quantization::int8)
          << name;
    }
    for (const int index : {34, 35}) {
      const std::string name = layer(index, module);
      EXPECT_EQ(layer_quantization(kComponent, name, Quantization::int8), Quantization::none)
          << name;
    }
  }
  EXPECT_EQ(layer_quantization(kComponent, layer(35, "to_q"), Quantization::int8),
            Quantization::int8);
}

TEST(Quantization, NumbersOfLayersMayBeAnything) {
  for (const char* index : {"", "x", "-1", "4294967295", "99999999999999999999"}) {
    const std::string name = std::string("layers.") + index + ".self_attention.to_v.weight";
    EXPECT_EQ(layer_quantization(kComponent, name, Quantization::int8), Quantization::int8) << name;
  }
}

TEST(Quantization, AnEmbeddingTableIsPackedAsOutputLayerOnly) {
  for (const char* name : {"model.embed_tokens.weight", "language_model.model.embed_tokens.weight",
                           "embed_tokens.weight"}) {
    for (const Quantization wanted : kAll) {
      EXPECT_EQ(layer_quantization(kComponent, name, wanted), wanted) << name;
      EXPECT_EQ(format_in_file(kComponent, name, wanted), WeightFormat::plain) << name;
    }
  }
}

TEST(Quantization, AllElseStaysPlain) {
  for (const char* name :
       {"adaLN_modulation.1.weight", "x_embedder.proj.weight", "text_proj.weight",
        "time_embedding.linear_1.weight", "final_norm.linear.weight", "final_linear.weight",
        "vision_tower.transformer.layers.0.attention.q_proj.weight",
        "multi_modal_projector.linear_1.weight", "decoder.mid_block.attentions.0.to_v.weight",
        ""}) {
    EXPECT_EQ(layer_quantization(kComponent, name, Quantization::int4), Quantization::none) << name;
    EXPECT_EQ(format_in_file(kComponent, name, Quantization::int4), WeightFormat::plain) << name;
  }
}

}  // namespace
}  // namespace ernie_image
