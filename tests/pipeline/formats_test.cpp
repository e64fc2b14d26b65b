// Models as other programs leave them on disk, to the latents that the reference pipeline makes of
// them.
#include <gtest/gtest.h>

#include <filesystem>

#include "../io/test_files.h"
#include "checkpoint/model.h"
#include "ernie_image/pipeline.h"
#include "io/safetensors.h"
#include "io/weight_files.h"
#include "support/device.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

std::string base_folder() { return golden::data_path("reference/models/tiny_b"); }

std::string formats(const std::string& path) { return golden::data_path("formats/" + path); }

nlohmann::json read_json(const std::string& path) {
  return nlohmann::json::parse(test::read_whole(path));
}

golden::TensorMap run(const LoadOptions& options) {
  const nlohmann::json inputs = read_json(formats("case.json"))["inputs"];
  golden::TensorMap trace;
  Request request;
  request.prompts = {inputs["prompt"].get<std::string>()};
  request.height_px = inputs["height"];
  request.width_px = inputs["width"];
  request.num_inference_steps = inputs["num_inference_steps"];
  request.guidance_scale = inputs["guidance_scale"].get<double>();
  request.seeds = {inputs["seed"].get<std::uint64_t>()};
  request.trace = &trace;
  Pipeline::load(options).generate(request);
  return trace;
}

LoadOptions on_base() {
  LoadOptions options;
  options.model = base_folder();
  options.device = test_device();
  return options;
}

/// What the README of the examples demands of a run in f32 over exactly decoded weights.
constexpr double kLimit = 1e-8;

class FormatsGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(FormatsGolden, GivesTheLatentsOfTheReference) {
  const std::string folder = formats(GetParam());
  const auto files = read_json(folder + "/case.json")["files"].get<std::vector<std::string>>();
  const std::string place = files.size() == 1 ? folder + "/" + files[0] : folder;
  LoadOptions options = on_base();
  const bool encoder = std::string(GetParam()).ends_with("text_encoder");
  (encoder ? options.parts.text_encoder : options.parts.transformer) = place;
  const golden::TensorMap actual = run(options);
  const SafetensorsFile expected = SafetensorsFile::open(folder + "/expected.safetensors");
  const golden::Difference difference =
      golden::compare(actual.tensors.at("latents.final"), expected.tensor("latents.final"));
  EXPECT_LE(difference.nmse, kLimit);
  RecordProperty("nmse", std::to_string(difference.nmse));
}

INSTANTIATE_TEST_SUITE_P(Files, FormatsGolden,
                         ::testing::Values("gguf/bf16", "gguf/q4_0", "gguf/q8_0",
                                           "gguf/text_encoder", "gguf/wide_mixed", "quant/bnb_int8",
                                           "quant/bnb_nf4", "quant/comfy_fp8", "quant/comfy_int8",
                                           "quant/comfy_nvfp4"),
                         [](const auto& entry) {
                           std::string name = entry.param;
                           std::ranges::replace(name, '/', '_');
                           return name;
                         });

// ---- other names for the same weights
// ------------------------------------------------------------

class Renamed : public test::TemporaryFolder {
 protected:
  using Tensors = std::vector<std::pair<std::string, Tensor>>;

  /// A component of the base model, its names changed by `rename`.
  static Tensors tensors_of(const std::string& component, const std::string& stem,
                            const std::function<std::string(std::string)>& rename) {
    const WeightFiles files(base_folder() + "/" + component, stem);
    Tensors tensors;
    for (const auto& file : files.files()) {
      for (const std::string& name : file->names()) {
        const std::string renamed = rename(name);
        if (!renamed.empty()) tensors.emplace_back(renamed, file->tensor(name));
      }
    }
    return tensors;
  }

  std::string write_file(const std::string& name, const Tensors& tensors) const {
    write_safetensors(path(name), tensors);
    return path(name);
  }

  /// Equal to the bit in latents and picture.
  static void expect_base(const LoadOptions& options) {
    static const golden::TensorMap expected = run(on_base());
    const golden::TensorMap actual = run(options);
    for (const char* name : {"latents.final", "image.uint8"}) {
      const Tensor &a = actual.tensors.at(name), &b = expected.tensors.at(name);
      ASSERT_EQ(a.shape(), b.shape());
      EXPECT_EQ(std::memcmp(a.bytes(), b.bytes(), a.size_bytes()), 0) << name;
    }
  }
};

std::string replaced(std::string text,
                     const std::vector<std::pair<std::string, std::string>>& pairs) {
  for (const auto& [from, to] : pairs) {
    if (const std::size_t at = text.find(from); at != std::string::npos) {
      text.replace(at, from.size(), to);
    }
  }
  return text;
}

/// diffusers' names of a VAE of four levels as its makers have them.
std::string black_forest(std::string name) {
  for (int i = 0; i < 4; ++i) {
    const std::string up = "up_blocks." + std::to_string(i) + ".";
    name = replaced(
        name, {{up, "up." + std::to_string(3 - i) + "."},
               {"down_blocks." + std::to_string(i) + ".", "down." + std::to_string(i) + "."}});
  }
  if (name.starts_with("quant_conv")) return "encoder." + name;
  if (name.starts_with("post_quant_conv")) return "decoder." + name;
  return replaced(name, {{"mid_block.resnets.0.", "mid.block_1."},
                         {"mid_block.resnets.1.", "mid.block_2."},
                         {"mid_block.attentions.0.group_norm.", "mid.attn_1.norm."},
                         {"mid_block.attentions.0.to_q.", "mid.attn_1.q."},
                         {"mid_block.attentions.0.to_k.", "mid.attn_1.k."},
                         {"mid_block.attentions.0.to_v.", "mid.attn_1.v."},
                         {"mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."},
                         {"resnets.", "block."},
                         {"upsamplers.0.", "upsample."},
                         {"downsamplers.0.", "downsample."},
                         {"conv_shortcut", "nin_shortcut"},
                         {"conv_norm_out", "norm_out"}});
}

TEST_F(Renamed, VaeInItsMakersNames) {
  Tensors tensors = tensors_of("vae", "diffusion_pytorch_model", black_forest);
  for (auto& [name, tensor] : tensors) {
    if (name.find("attn_1") != std::string::npos && tensor.rank() == 2)
      tensor = tensor.reshaped({tensor.dim(0), tensor.dim(1), 1, 1});
  }
  LoadOptions options = on_base();
  options.parts.vae = write_file("ae.safetensors", tensors);
  expect_base(options);
}

TEST_F(Renamed, TextEncoderBehindEveryPrefix) {
  for (const std::string prefix : {"language_model.model.", "model.language_model.",
                                   "model.language_model.model.", "model."}) {
    LoadOptions options = on_base();
    options.parts.text_encoder = write_file(
        "te.safetensors", tensors_of("text_encoder", "model", [&](const std::string& name) {
          constexpr std::string_view kOld = "language_model.";
          return name.starts_with(kOld) ? prefix + name.substr(kOld.size()) : std::string();
        }));
    expect_base(options);
  }
}

TEST_F(Renamed, TransformerBehindAPrefixAndWithoutTaps) {
  Tensors tensors =
      tensors_of("transformer", "diffusion_pytorch_model",
                 [](const std::string& name) { return "model.diffusion_model." + name; });
  for (auto& [name, tensor] : tensors) {
    if (name.ends_with("x_embedder.proj.weight"))
      tensor = tensor.reshaped({tensor.dim(0), tensor.dim(1)});
  }
  LoadOptions options = on_base();
  options.parts.transformer = write_file("dit.safetensors", tensors);
  expect_base(options);
}

TEST_F(Renamed, CheckpointHoldsEverything) {
  Tensors all = tensors_of("transformer", "diffusion_pytorch_model",
                           [](const std::string& name) { return "model.diffusion_model." + name; });
  for (auto& more :
       {tensors_of("vae", "diffusion_pytorch_model",
                   [](const std::string& name) { return "vae." + black_forest(name); }),
        tensors_of("text_encoder", "model", [](const std::string& name) {
          return replaced("text_encoders.m." + name, {{"language_model.", "transformer.model."}});
        })}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  LoadOptions options;
  options.device = test_device();
  options.model = write_file("all.safetensors", all);
  options.parts.base = base_folder();
  expect_base(options);
}

// ---- putting models together
// ---------------------------------------------------------------------

class PutTogether : public test::TemporaryFolder {};

TEST_F(PutTogether, SizesFollowFromShapesWhereNoConfigIsBesideTheFile) {
  fs::copy(formats("gguf/wide_mixed/dit_wide_mixed.gguf"), path("wide.gguf"));
  LoadOptions options;
  options.model = path("wide.gguf");
  options.parts.base = base_folder();
  const ModelConfigs configs = ModelConfigs::read(resolve_model(options.model, options.parts));
  EXPECT_EQ(configs.transformer.hidden_size, 256);
  EXPECT_EQ(configs.transformer.num_attention_heads, 2);
  EXPECT_EQ(configs.transformer.num_layers, 1);
  EXPECT_EQ(configs.transformer.ffn_hidden_size, 256);
  EXPECT_EQ(configs.transformer.rope_axes_dim, (std::array<int, 3>{32, 48, 48}));
  const std::vector<std::string> notes = Pipeline::load(options).info().notes;
  const auto says = [&](const std::string& part) {
    return std::ranges::any_of(
        notes, [&](const std::string& note) { return note.find(part) != std::string::npos; });
  };
  EXPECT_TRUE(says("hidden_size 256")) << notes.size();
  EXPECT_TRUE(says("assumed"));
  EXPECT_TRUE(says("everything else from " + base_folder()));
  const golden::TensorMap actual = run(options);
  const SafetensorsFile expected =
      SafetensorsFile::open(formats("gguf/wide_mixed/expected.safetensors"));
  EXPECT_LE(
      golden::compare(actual.tensors.at("latents.final"), expected.tensor("latents.final")).nmse,
      kLimit);
}

TEST_F(PutTogether, WhatIsMissingIsNotGuessed) {
  const test::ScopedVariable home("HOME", folder_.c_str());
  const test::ScopedVariable model("ERNIE_IMAGE_MODEL", nullptr);
  LoadOptions options;
  options.model = formats("gguf/bf16/dit_bf16.gguf");
  test::expect_error(ErrorKind::not_found, {"--base"},
                     [&] { resolve_model(options.model, options.parts); });
  options.model = formats("gguf/text_encoder/text_encoder_bf16.gguf");
  test::expect_error(ErrorKind::invalid_argument, {"--text-encoder"},
                     [&] { resolve_model(options.model, options.parts); });
  options = on_base();
  options.parts.vae = path("none.safetensors");
  test::expect_error(ErrorKind::not_found, {"none.safetensors", "vae"},
                     [&] { resolve_model(options.model, options.parts); });
  options.parts.vae = formats("gguf/bf16/dit_bf16.gguf");
  test::expect_error(ErrorKind::corrupt_file, {"holds transformer", "expected the vae"},
                     [&] { Pipeline::load(options); });
}

TEST_F(PutTogether, WrongFilesAreToldApart) {
  const auto with_tensor = [&](const std::string& name) {
    const std::string header = test::header_of({test::entry(name, "F32", "[1]", "[0,4]")});
    return write("other.safetensors", test::safetensors(header, 4));
  };
  const auto expect_named = [&](const std::string& file, const std::string& what) {
    LoadOptions options = on_base();
    options.parts.transformer = file;
    test::expect_error(ErrorKind::corrupt_file, {file, what}, [&] { Pipeline::load(options); });
    options = {};
    options.model = file;
    options.parts.base = base_folder();
    test::expect_error(ErrorKind::corrupt_file, {file, what}, [&] { Pipeline::load(options); });
  };
  expect_named(with_tensor("double_stream_modulation_img.lin.weight"), "FLUX.2");
  expect_named(with_tensor("transformer_blocks.0.img_mod.1.weight"), "Qwen-Image");
  expect_named(with_tensor("transformer.layers.0.mlp.up_proj.lora_A.weight"), "LoRA");
  expect_named(write("lfs.gguf", "version https://git-lfs.github.com/spec/v1\nsize 5\n"),
               "git-lfs");
  expect_named(write("page.gguf", "<!DOCTYPE html><html>"), "web page");
  LoadOptions options = on_base();
  options.parts.transformer = write("m.ckpt", std::string("PK\3\4", 4) + std::string(100, 'x'));
  test::expect_error(ErrorKind::unsupported, {"pickle"}, [&] { Pipeline::load(options); });
  options.parts.transformer = write("n.pt", "\x80\x02}q\x01.");
  test::expect_error(ErrorKind::unsupported, {"pickle"}, [&] { Pipeline::load(options); });
}

TEST_F(PutTogether, LayersThatAreMissingAreNoSmallerModel) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  const WeightFiles files(base_folder() + "/transformer", "diffusion_pytorch_model");
  for (const auto& file : files.files()) {
    for (const std::string& name : file->names()) {
      if (!name.starts_with("layers.0.")) tensors.emplace_back(name, file->tensor(name));
    }
  }
  write_safetensors(path("half.safetensors"), tensors);
  LoadOptions options = on_base();
  options.parts.transformer = path("half.safetensors");
  test::expect_error(ErrorKind::corrupt_file, {"half.safetensors", "some are missing"},
                     [&] { Pipeline::load(options); });
}

TEST_F(PutTogether, ContentHashSeesTheParts) {
  const std::string plain = content_hash(resolve_model(on_base().model, on_base().parts));
  LoadOptions options = on_base();
  options.parts.transformer = formats("gguf/q4_0/dit_q4_0.gguf");
  const std::string replaced = content_hash(resolve_model(options.model, options.parts));
  EXPECT_NE(replaced, plain);
  const ModelInfo info = Pipeline::load(options).info();
  EXPECT_EQ(info.content_hash, replaced);
  EXPECT_EQ(content_hash(resolve_model(info.path, info.parts)), replaced)
      << "found again by what it says";
}

}  // namespace
}  // namespace ernie_image
