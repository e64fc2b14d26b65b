// Models written as other programs read them, and read back.
#include "quantize/convert_model.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <limits>

#include "../io/test_files.h"
#include "ernie_image/pipeline.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "io/weight_files.h"
#include "support/device.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

std::string tiny_b() { return golden::data_path("reference/models/tiny_b"); }

class ConvertTest : public test::TemporaryFolder {
 protected:
  static ConvertRequest to(ConvertTarget target, const std::string& type,
                           const std::string& output) {
    ConvertRequest request;
    request.source = resolve_model(tiny_b());
    request.target = target;
    request.type = type;
    request.output = output;
    return request;
  }
};

/// The picture in f32, which shows every bit of every weight that draws.
Image picture(const std::string& model, const ModelParts& parts = {}) {
  LoadOptions options;
  options.model = model;
  options.parts = parts;
  options.device = test_device();
  options.precision = Precision::fp32;
  Request request;
  request.prompts = {"a small house"};
  request.height_px = 48;
  request.width_px = 64;
  request.num_inference_steps = 2;
  request.seeds = {7};
  return Pipeline::load(options).generate(request).images.at(0);
}

TEST_F(ConvertTest, GgufInF32DrawsTheSamePicture) {
  ConvertRequest request = to(ConvertTarget::gguf, "F32", path("gguf"));
  request.components = {Component::transformer, Component::text_encoder};
  convert_model(request);
  ModelParts parts;
  parts.transformer = path("gguf/transformer-F32.gguf");
  parts.text_encoder = path("gguf/text_encoder-F32.gguf");
  EXPECT_EQ(picture(tiny_b(), parts).rgb, picture(tiny_b()).rgb);
}

TEST_F(ConvertTest, ComfyFilesDrawTheSamePicture) {
  const ConvertResult result = convert_model(to(ConvertTarget::comfyui, "", path("comfy")));
  ASSERT_EQ(result.files.size(), 3u);
  ModelParts parts;
  parts.transformer = path("comfy/diffusion_models/ernie_image_transformer.safetensors");
  parts.text_encoder = path("comfy/text_encoders/ernie_image_text_encoder.safetensors");
  parts.vae = path("comfy/vae/ernie_image_vae.safetensors");
  EXPECT_EQ(picture(tiny_b(), parts).rgb, picture(tiny_b()).rgb);
  const SafetensorsFile vae = SafetensorsFile::open(parts.vae);
  EXPECT_EQ(vae.stored("decoder.mid.attn_1.q.weight").shape.size(), 4u);
  EXPECT_TRUE(vae.contains("decoder.post_quant_conv.weight"));
  EXPECT_TRUE(SafetensorsFile::open(parts.text_encoder).contains("model.embed_tokens.weight"));
}

TEST_F(ConvertTest, AFolderIsMadeOfFilesInOtherFormats) {
  ConvertRequest request = to(ConvertTarget::diffusers, "F32", path("folder"));
  ModelParts parts;
  parts.transformer = golden::data_path("formats/gguf/q4_0/dit_q4_0.gguf");
  parts.text_encoder = golden::data_path("formats/gguf/text_encoder/text_encoder_bf16.gguf");
  request.source = resolve_model(tiny_b(), parts);
  convert_model(request);
  EXPECT_EQ(picture(path("folder")).rgb, picture(tiny_b(), parts).rgb);
}

TEST_F(ConvertTest, TheConfigForgetsHowTheWeightsWereQuantised) {
  ConvertRequest request = to(ConvertTarget::diffusers, "F32", path("folder"));
  ModelParts parts;
  parts.transformer = golden::data_path("formats/quant/bnb_nf4");
  request.source = resolve_model(tiny_b(), parts);
  convert_model(request);
  const std::string config = test::read_whole(path("folder/transformer/config.json"));
  EXPECT_EQ(config.find("quantization_config"), std::string::npos);
  EXPECT_EQ(picture(path("folder")).rgb, picture(tiny_b(), parts).rgb);
}

/// What a weight has become, against what it was: the error over the signal.
double nmse(const WeightFiles& written, const WeightFiles& source, const std::string& name) {
  const Tensor now = widened(*written.find(name)), before = widened(*source.find(name));
  double error = 0, signal = 0;
  for (std::int64_t i = 0; i < before.size(); ++i) {
    const double off = now.data<float>()[i] - before.data<float>()[i];
    error += off * off;
    signal += static_cast<double>(before.data<float>()[i]) * before.data<float>()[i];
  }
  return error / signal;
}

struct TypeCase {
  ConvertTarget target;
  const char* type;
  double limit;
};

class ConvertTypes : public ConvertTest, public ::testing::WithParamInterface<TypeCase> {};

/// Limits: half more than what normally distributed weights lose in that type.
TEST_P(ConvertTypes, LosesNoMoreThanTheTypeMust) {
  const auto& [target, type, limit] = GetParam();
  const bool gguf = target == ConvertTarget::gguf;
  ConvertRequest request = to(target, type, path(gguf ? "x.gguf" : "x.safetensors"));
  // Rows of 256, which the super-blocks of K need.
  ModelParts parts;
  parts.transformer = golden::data_path("formats/gguf/wide_mixed/dit_wide_mixed.gguf");
  request.source = resolve_model(tiny_b(), parts);
  request.components = {Component::transformer};
  const ConvertResult result = convert_model(request);
  EXPECT_GE(result.files.at(0).types.at(type), 7);
  const WeightFiles written(request.output), source(parts.transformer);
  for (const char* part : {"self_attention.to_q", "self_attention.to_out.0", "mlp.gate_proj"}) {
    const std::string name = "layers.0." + std::string(part) + ".weight";
    EXPECT_LE(nmse(written, source, name), limit) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ConvertTypes,
                         ::testing::Values(TypeCase{ConvertTarget::gguf, "Q8_0", 6e-5},
                                           TypeCase{ConvertTarget::gguf, "Q6_K", 6e-4},
                                           TypeCase{ConvertTarget::gguf, "Q5_K", 2e-3},
                                           TypeCase{ConvertTarget::gguf, "Q4_K", 8e-3},
                                           TypeCase{ConvertTarget::gguf, "IQ4_NL", 8e-3},
                                           TypeCase{ConvertTarget::comfyui, "F8_E4M3", 1.1e-3},
                                           TypeCase{ConvertTarget::comfyui, "I8", 1.2e-4}),
                         [](const auto& entry) { return std::string(entry.param.type); });

/// The gguf package made these from the same weights (tests/data/formats/README.md).
TEST_F(ConvertTest, BlocksAreThoseOfTheGgufPackage) {
  convert_model(to(ConvertTarget::gguf, "Q4_0", path("q4_0.gguf")));
  const GgufFile ours = GgufFile::open(path("q4_0.gguf"));
  const GgufFile theirs = GgufFile::open(golden::data_path("formats/gguf/q4_0/dit_q4_0.gguf"));
  int compared = 0;
  for (const std::string& name : theirs.names()) {
    const Weight &a = ours.stored(name), &b = theirs.stored(name);
    if (b.format != WeightFormat::encoded || b.decoder->name() != "Q4_0") continue;
    const Tensor mine = ours.tensor(name), other = theirs.tensor(name);
    ASSERT_EQ(mine.size_bytes(), other.size_bytes()) << name;
    EXPECT_EQ(std::memcmp(mine.bytes(), other.bytes(), mine.size_bytes()), 0) << name;
    EXPECT_EQ(a.shape, b.shape) << name;
    ++compared;
  }
  EXPECT_GE(compared, 14);
}

TEST_F(ConvertTest, WhatExistsIsNotWrittenOverUnasked) {
  ConvertRequest request = to(ConvertTarget::gguf, "Q8_0", path("x.gguf"));
  write("x.gguf", "mine");
  expect_error(ErrorKind::invalid_argument, {"x.gguf", "--force"}, [&] { convert_model(request); });
  EXPECT_EQ(test::read_whole(path("x.gguf")), "mine");
  request.force = true;
  convert_model(request);
  EXPECT_EQ(GgufFile::open(path("x.gguf")).names().size(), 34u);
}

TEST_F(ConvertTest, ThatWhichIsReadIsNotWrittenOver) {
  ConvertRequest request = to(ConvertTarget::gguf, "F16", path("x.gguf"));
  convert_model(request);
  ModelParts parts;
  parts.transformer = path("x.gguf");
  request.source = resolve_model(tiny_b(), parts);
  request.force = true;
  const std::string before = test::read_whole(path("x.gguf"));
  expect_error(ErrorKind::invalid_argument, {"x.gguf", "is read"}, [&] { convert_model(request); });
  EXPECT_EQ(test::read_whole(path("x.gguf")), before);
}

TEST_F(ConvertTest, RefusesWhatTheTargetHasNoFormFor) {
  expect_error(ErrorKind::invalid_argument, {"Q4_K", "F32 F16 BF16"},
               [&] { convert_model(to(ConvertTarget::diffusers, "Q4_K", path("x"))); });
  ConvertRequest request = to(ConvertTarget::gguf, "Q8_0", path("x.gguf"));
  request.components = {Component::vae};
  expect_error(ErrorKind::invalid_argument, {"vae", "--to comfyui"},
               [&] { convert_model(request); });
  request.components = {Component::transformer, Component::text_encoder};
  expect_error(ErrorKind::invalid_argument, {"x.gguf", "name a folder"},
               [&] { convert_model(request); });
  EXPECT_TRUE(fs::is_empty(folder_));
}

/// A file of one wide matrix among the others, with a value that no scale can hold.
TEST_F(ConvertTest, AWeightThatIsNotFiniteIsNamed) {
  ConvertRequest first = to(ConvertTarget::diffusers, "F32", path("folder"));
  convert_model(first);
  const std::string weights = path("folder/transformer/diffusion_pytorch_model.safetensors");
  std::string bytes = test::read_whole(weights);
  const SafetensorsFile file = SafetensorsFile::open(weights);
  const Weight& weight = file.stored("layers.0.mlp.up_proj.weight");
  const auto at = static_cast<std::size_t>(
      weight.data - reinterpret_cast<const std::byte*>(file.file().bytes.data()));
  const float infinite = std::numeric_limits<float>::infinity();
  std::memcpy(bytes.data() + at + 400, &infinite, sizeof(infinite));
  write("bad.safetensors", bytes);
  ModelParts parts;
  parts.transformer = path("bad.safetensors");
  for (const auto& [target, type] :
       {std::pair{ConvertTarget::gguf, "Q8_0"}, {ConvertTarget::comfyui, "F8_E4M3"}}) {
    ConvertRequest request = to(target, type, path(target == ConvertTarget::gguf ? "o.gguf" : "o"));
    request.source = resolve_model(tiny_b(), parts);
    expect_error(ErrorKind::invalid_argument, {"layers.0.mlp.up_proj.weight", "not finite"},
                 [&] { convert_model(request); });
  }
  EXPECT_FALSE(fs::exists(path("o.gguf")));
}

}  // namespace
}  // namespace ernie_image
