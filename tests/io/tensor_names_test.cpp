#include "io/tensor_names.h"

#include <gtest/gtest.h>

namespace ernie_image {
namespace {

NamedComponent only(const std::vector<std::string>& names) {
  const auto found = find_components(names);
  EXPECT_EQ(found.size(), 1u);
  return found.empty() ? NamedComponent{} : found[0];
}

TEST(TensorNames, TransformerBareOrBehindAnyPrefix) {
  for (const std::string prefix :
       {"", "model.diffusion_model.", "diffusion_model.", "transformer."}) {
    const NamedComponent found = only({prefix + "layers.0.adaLN_sa_ln.weight"});
    EXPECT_EQ(found.component, Component::transformer);
    EXPECT_EQ(canonical_name(found, prefix + "final_linear.bias", 0), "final_linear.bias");
  }
}

TEST(TensorNames, LanguageModelsBehindEveryPrefix) {
  for (const std::string prefix : {"language_model.model.", "language_model.",
                                   "model.language_model.", "model.language_model.model.", "model.",
                                   "", "text_encoders.ministral.transformer.model."}) {
    const NamedComponent found = only({prefix + "layers.3.post_attention_layernorm.weight",
                                       "vision_tower.layers.0.post_attention_layernorm.weight"});
    EXPECT_EQ(found.component, Component::text_encoder);
    EXPECT_EQ(found.prefix, prefix);
    EXPECT_EQ(canonical_name(found, prefix + "norm.weight", 0), "language_model.norm.weight");
  }
  const NamedComponent pe = only({"pe.model.layers.0.post_attention_layernorm.weight"});
  EXPECT_EQ(pe.component, Component::pe);
  EXPECT_EQ(canonical_name(pe, "pe.model.embed_tokens.weight", 0), "model.embed_tokens.weight");
  EXPECT_EQ(canonical_name(pe, "pe.lm_head.weight", 0), "lm_head.weight");
}

TEST(TensorNames, LlamaCpp) {
  const NamedComponent found = only({"blk.0.attn_norm.weight", "token_embd.weight"});
  EXPECT_EQ(found.dialect, Dialect::llama_cpp);
  const auto ours = [&](const char* name) { return canonical_name(found, name, 0).value_or(""); };
  EXPECT_EQ(ours("token_embd.weight"), "language_model.embed_tokens.weight");
  EXPECT_EQ(ours("output_norm.weight"), "language_model.norm.weight");
  EXPECT_EQ(ours("output.weight"), "lm_head.weight");
  EXPECT_EQ(ours("blk.12.attn_q.weight"), "language_model.layers.12.self_attn.q_proj.weight");
  EXPECT_EQ(ours("blk.1.attn_output.weight"), "language_model.layers.1.self_attn.o_proj.weight");
  EXPECT_EQ(ours("blk.1.ffn_norm.weight"),
            "language_model.layers.1.post_attention_layernorm.weight");
  EXPECT_EQ(ours("blk.1.ffn_down.weight"), "language_model.layers.1.mlp.down_proj.weight");
  EXPECT_EQ(ours("rope_freqs.weight"), "");
}

TEST(TensorNames, VaeAsItsMakersNameIt) {
  const std::vector<std::string> names = {"vae.decoder.mid.block_1.norm1.weight",
                                          "vae.decoder.up.3.block.0.conv1.weight",
                                          "vae.decoder.up.0.block.0.conv1.weight"};
  const NamedComponent found = only(names);
  EXPECT_EQ(found.dialect, Dialect::black_forest);
  EXPECT_EQ(count_levels(found, names), 4);
  const auto ours = [&](const std::string& name) {
    return canonical_name(found, "vae." + name, 4).value_or("");
  };
  EXPECT_EQ(ours("decoder.mid.block_2.conv1.bias"), "decoder.mid_block.resnets.1.conv1.bias");
  EXPECT_EQ(ours("decoder.mid.attn_1.norm.weight"),
            "decoder.mid_block.attentions.0.group_norm.weight");
  EXPECT_EQ(ours("encoder.mid.attn_1.proj_out.bias"),
            "encoder.mid_block.attentions.0.to_out.0.bias");
  EXPECT_EQ(ours("decoder.up.3.block.2.nin_shortcut.weight"),
            "decoder.up_blocks.0.resnets.2.conv_shortcut.weight");
  EXPECT_EQ(ours("decoder.up.1.upsample.conv.weight"),
            "decoder.up_blocks.2.upsamplers.0.conv.weight");
  EXPECT_EQ(ours("encoder.down.1.downsample.conv.bias"),
            "encoder.down_blocks.1.downsamplers.0.conv.bias");
  EXPECT_EQ(ours("decoder.norm_out.weight"), "decoder.conv_norm_out.weight");
  EXPECT_EQ(ours("decoder.post_quant_conv.weight"), "post_quant_conv.weight");
  EXPECT_EQ(ours("post_quant_conv.bias"), "post_quant_conv.bias");
  EXPECT_EQ(ours("bn.running_var"), "bn.running_var");
}

TEST(TensorNames, CheckpointsHoldSeveral) {
  const auto found =
      find_components({"model.diffusion_model.layers.0.adaLN_sa_ln.weight",
                       "vae.decoder.mid_block.resnets.0.norm1.weight",
                       "text_encoders.m.model.layers.0.post_attention_layernorm.weight"});
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].component, Component::transformer);
  EXPECT_EQ(found[1].component, Component::text_encoder);
  EXPECT_EQ(found[2].component, Component::vae);
}

TEST(TensorNames, OtherModelsAreNamed) {
  EXPECT_EQ(foreign_model({"double_stream_modulation_img.lin.weight", "double_blocks.0.x"}),
            "FLUX.2");
  EXPECT_EQ(foreign_model({"cap_embedder.0.weight", "context_refiner.0.attention.qkv.weight"}),
            "Z-Image or Lumina");
  EXPECT_EQ(foreign_model({"transformer_blocks.0.img_mod.1.weight"}), "Qwen-Image");
  EXPECT_NE(foreign_model({"diffusion_model.layers.0.mlp.up_proj.lora_A.weight"}).find("LoRA"),
            std::string::npos);
  EXPECT_EQ(foreign_model({"a", "b"}), "");
}

}  // namespace
}  // namespace ernie_image
