#include "models/quantized_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backend/composed_backend.h"
#include "backend/cpu/cpu_backend.h"
#include "models/language_model.h"
#include "models/text_encoder.h"
#include "models/transformer.h"

namespace ernie_image {
namespace {

/// A component of 36 layers.
class NamedWeights : public WeightSource {
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

const NamedWeights kNamedWeights;

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
      EXPECT_EQ(layer_quantization(quantized_weights(), kNamedWeights, name, wanted), wanted)
          << name;
      EXPECT_EQ(format_in_file(quantized_weights(), kNamedWeights, name, wanted),
                weight_format(wanted))
          << name;
    }
  }
}

TEST(Quantization, ValuesAndOutputsOfTheTransformersAttentionHaveEightBits) {
  for (const char* name :
       {"layers.0.self_attention.to_v.weight", "layers.35.self_attention.to_out.0.weight"}) {
    EXPECT_EQ(layer_quantization(quantized_weights(), kNamedWeights, name, Quantization::int4),
              Quantization::int8)
        << name;
    EXPECT_EQ(layer_quantization(quantized_weights(), kNamedWeights, name, Quantization::none),
              Quantization::none)
        << name;
    EXPECT_EQ(format_in_file(quantized_weights(), kNamedWeights, name, Quantization::int4),
              WeightFormat::packed_int8)
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
      EXPECT_EQ(layer_quantization(quantized_weights(), kNamedWeights, name, Quantization::int8),
                Quantization::int8)
          << name;
    }
    for (const int index : {34, 35}) {
      const std::string name = layer(index, module);
      EXPECT_EQ(layer_quantization(quantized_weights(), kNamedWeights, name, Quantization::int8),
                Quantization::none)
          << name;
    }
  }
  EXPECT_EQ(
      layer_quantization(quantized_weights(), kNamedWeights, layer(35, "to_q"), Quantization::int8),
      Quantization::int8);
}

TEST(Quantization, NumbersOfLayersMayBeAnything) {
  for (const char* index : {"", "x", "-1", "4294967295", "99999999999999999999"}) {
    const std::string name = std::string("layers.") + index + ".self_attention.to_v.weight";
    EXPECT_EQ(layer_quantization(quantized_weights(), kNamedWeights, name, Quantization::int8),
              Quantization::int8)
        << name;
  }
}

TEST(Quantization, AnEmbeddingTableIsPackedAsOutputLayerOnly) {
  for (const char* name : {"model.embed_tokens.weight", "language_model.model.embed_tokens.weight",
                           "embed_tokens.weight"}) {
    for (const Quantization wanted : kAll) {
      EXPECT_EQ(layer_quantization(quantized_weights(), kNamedWeights, name, wanted), wanted)
          << name;
      EXPECT_EQ(format_in_file(quantized_weights(), kNamedWeights, name, wanted),
                WeightFormat::plain)
          << name;
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
    EXPECT_EQ(layer_quantization(quantized_weights(), kNamedWeights, name, Quantization::int4),
              Quantization::none)
        << name;
    EXPECT_EQ(format_in_file(quantized_weights(), kNamedWeights, name, Quantization::int4),
              WeightFormat::plain)
        << name;
  }
}

/// Keeps what a model asks for, and computes nothing.
class Recorder : public ComposedBackend {
 public:
  struct Prepared {
    Weight weight;
    Quantization quantization;
  };
  Recorder() : ComposedBackend(make_cpu_backend({.num_threads = 1})) {}
  WeightHandle prepare(const Weight& weight, WeightUse use, Quantization quantization) override {
    prepared.push_back({weight, quantization});
    return ComposedBackend::prepare(weight, use, Quantization::none);
  }

  std::vector<Prepared> prepared;
};

/// Weights of `layers` layers, without data.
class Shapes : public NamedWeights {
 public:
  explicit Shapes(int layers) : layers_(layers) {}
  bool contains(std::string_view name) const override {
    const std::size_t at = name.find("layers.");
    return at == std::string_view::npos || std::stoi(std::string(name.substr(at + 7))) < layers_;
  }
  Weight get(const std::string& name, const Shape& shape) override {
    return {name, DType::bf16, shape, nullptr, nullptr};
  }

 private:
  int layers_;
};

/// Of "<list>.7.rest" 7, else -1.
std::int64_t layer_in_name(const std::string& name, const std::string& list) {
  return name.starts_with(list + ".") ? std::stoi(name.substr(list.size() + 1)) : -1;
}

void expect_layers_declared(const Recorder& ops, const std::string& list, int layers) {
  std::int64_t last = -1;
  for (const auto& [weight, quantization] : ops.prepared) {
    const std::int64_t expected = layer_in_name(weight.name, list);
    EXPECT_EQ(weight.layer, expected) << weight.name;
    EXPECT_EQ(weight.network, expected < 0 ? "" : list) << weight.name;
    last = std::max(last, weight.layer);
  }
  EXPECT_EQ(last, layers - 1);
}

TEST(ModelsDeclare, TheLayersOfTheTransformerAndWhatOfThemIsQuantised) {
  TransformerConfig config;
  config.num_layers = 3;
  Recorder ops;
  Shapes shapes(3);
  const Transformer transformer(ops, shapes, config, Quantization::int8);
  expect_layers_declared(ops, "layers", 3);
  int quantised = 0;
  for (const auto& [weight, quantization] : ops.prepared) {
    const bool is_linear = weight.layer >= 0 && weight.shape.size() == 2;
    const bool is_kept = weight.layer > 0 && (weight.name.ends_with(".to_v.weight") ||
                                              weight.name.ends_with(".to_out.0.weight"));
    EXPECT_EQ(quantization, is_linear && !is_kept ? Quantization::int8 : Quantization::none)
        << weight.name;
    quantised += quantization == Quantization::int8 ? 1 : 0;
  }
  EXPECT_EQ(quantised, 3 * 7 - 2 * 2);
}

TEST(ModelsDeclare, TheLayersOfTheTextEncoderAndTheLanguageModel) {
  MinistralConfig config;
  config.num_hidden_layers = 4;
  Shapes shapes(4);
  Recorder encoder_ops;
  const TextEncoder encoder(encoder_ops, shapes, config);
  expect_layers_declared(encoder_ops, "language_model.model.layers",
                         static_cast<int>(TextEncoder::layers_used(config)));
  Recorder language_ops;
  const LanguageModel language(language_ops, shapes, config, true, Quantization::int4);
  expect_layers_declared(language_ops, "model.layers", 4);
  EXPECT_EQ(language_ops.prepared.front().quantization, Quantization::none);  // a table of rows
  EXPECT_EQ(language_ops.prepared.back().quantization, Quantization::int4);   // the same as a layer
}

}  // namespace
}  // namespace ernie_image
