// One layer of each network at the released model's full width, against the reference, with every
// kernel set.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/registry.h"
#include "models/ministral.h"
#include "models/transformer.h"
#include "models/vae_decoder.h"
#include "models/vae_encoder.h"
#include "support/device.h"
#include "support/formula_weights.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

using golden::Case;
using golden::formula_tensor;
using golden::FormulaWeights;
using golden::TensorMap;

std::string folder_of(const std::string& name) {
  return golden::data_path("reference/realwidth/" + name);
}

JsonReader config_of(const std::string& name) {
  return *JsonReader::open(folder_of(name) + "/case.json").object("config");
}

/// Every `stride`th value.
Tensor strided(const Tensor& tensor, std::int64_t stride) {
  const Tensor values = to_float(tensor);
  Tensor picked = Tensor::host(DType::f32, {(values.size() + stride - 1) / stride});
  for (std::int64_t i = 0; i < picked.size(); ++i)
    picked.data<float>()[i] = values.data<float>()[i * stride];
  return picked;
}

/// L2 norm over the last axis.
Tensor row_norms(const Tensor& tensor) {
  const Tensor values = to_float(tensor);
  const std::int64_t width = values.dim(-1);
  Tensor norms = Tensor::host(DType::f32, {values.size() / width});
  for (std::int64_t row = 0; row < norms.size(); ++row) {
    double sum = 0;
    for (std::int64_t i = 0; i < width; ++i)
      sum += std::pow(double(values.data<float>()[row * width + i]), 2);
    norms.data<float>()[row] = static_cast<float>(std::sqrt(sum));
  }
  return norms;
}

/// Compares with what is stored of tensor `key` of the fp32 run: all of it, or samples and row
/// norms. A bf16 run may be twice as far from fp32 as the reference's own bf16 run is, which stored
/// its tensors under "bf16." (kernels differ in their order of summation, so bf16 values are not
/// compared with each other).
void expect_stored(const Case& golden_case, const std::string& key, const Tensor& actual,
                   std::int64_t stride) {
  const auto& tensors = golden_case.tensors;
  const auto expect = [&](const std::string& name, const Tensor& value) {
    const Tensor expected = tensors.tensor("fp32." + name);
    // 1e-9 is the recommended limit for any fp32 block output; measured rounding is 10x below.
    const double max_nmse =
        actual.dtype() == DType::f32
            ? 1e-9
            : 2 * golden::compare(tensors.tensor("bf16." + name), expected).nmse;
    EXPECT_LE(golden::compare(value, expected).nmse, max_nmse) << name;
  };
  if (tensors.contains("fp32." + key)) {
    expect(key, actual);
  } else {
    ASSERT_TRUE(tensors.contains("fp32." + key + ".strided")) << key;
    expect(key + ".strided", strided(actual, stride));
    expect(key + ".row_norms", row_norms(actual));
  }
}

class RealWidth : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() != "ascend") {
      ops = make_cpu_backend({0, GetParam()});
    } else if (const DeviceKind* kind = find_device_kind("ascend");
               kind != nullptr && !kind->info().cards.empty()) {
      ops = make_backend({.device = "ascend"});
    } else {
      GTEST_SKIP() << "no device";
    }
  }

  std::unique_ptr<Backend> ops;
};

TEST_P(RealWidth, TransformerLayer) {
  const Case golden_case(folder_of("dit_4096"));
  FormulaWeights weights(golden_case.json["weight_table"]);
  const Transformer transformer(*ops, weights, TransformerConfig::read(config_of("dit_4096")));

  const Tensor latents = golden_case.tensors.tensor("input.hidden_states");
  const Tensor timesteps = golden_case.tensors.tensor("input.timestep");
  Tensor text = to_float(formula_tensor("input.text", {2, 21, 3072}, 2.0f));
  std::fill(text.data<float>() + (21 + 13) * 3072, text.data<float>() + text.size(), 0.0f);
  const std::vector<std::int64_t> text_lens = {21, 13};

  TensorMap seen;
  const TransformerContext context =
      transformer.prepare(ops->upload(text), text_lens, 6, 10, &seen);
  const Tensor output = ops->download(
      transformer.forward(ops->upload(latents), timesteps.span<float>(), context, &seen));
  for (const std::string name :
       {"x_embedder", "time_embedding", "adaLN_modulation", "block0.norm_q", "block0.attn_context",
        "block0.attn_out", "block0.output", "final_norm"}) {
    expect_stored(golden_case, name, seen.tensors.at("dit." + name), 997);
  }
  expect_stored(golden_case, "output", output, 1);
}

/// The output of the transformer at the released width, its one block quantised.
Tensor quantized_output(Backend& ops, Quantization quantization) {
  const Case golden_case(folder_of("dit_4096"));
  FormulaWeights weights(golden_case.json["weight_table"]);
  const Transformer transformer(ops, weights, TransformerConfig::read(config_of("dit_4096")),
                                quantization);
  const Tensor text = to_float(formula_tensor("input.text", {2, 21, 3072}, 2.0f));
  const std::vector<std::int64_t> text_lens = {21, 21};
  const TransformerContext context =
      transformer.prepare(ops.upload(text), text_lens, 6, 10, nullptr);
  const Tensor latents = golden_case.tensors.tensor("input.hidden_states");
  const Tensor timesteps = golden_case.tensors.tensor("input.timestep");
  return ops.download(
      transformer.forward(ops.upload(latents), timesteps.span<float>(), context, nullptr));
}

TEST(RealWidthQuantized, TransformerCallStaysNear) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "minutes under sanitizers; small sizes run the same code";
#endif
  const auto ops = make_cpu_backend();
  const Tensor exact = quantized_output(*ops, Quantization::none);
  // The limits of docs/numerics.md for a whole call; one block adds less than all.
  EXPECT_LE(golden::compare(quantized_output(*ops, Quantization::int8), exact).nmse, 1.3e-4);
  EXPECT_LE(golden::compare(quantized_output(*ops, Quantization::int4), exact).nmse, 7e-3);
}

/// One scale for each row. By hand, as the stand-in takes long for it: 5.5e-5.
TEST(RealWidthQuantized, TransformerCallStaysNearOnACard) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "minutes under sanitizers; small sizes run the same code";
#endif
  if (test_device() != "ascend") GTEST_SKIP() << "for Ascend's form of int8";
  const auto ops = make_test_backend();
  const Tensor exact = quantized_output(*ops, Quantization::none);
  const double nmse = golden::compare(quantized_output(*ops, Quantization::int8), exact).nmse;
  RecordProperty("nmse", testing::PrintToString(nmse));
  EXPECT_LE(nmse, 2.6e-4);
  EXPECT_GT(nmse, 1e-6) << "is anything quantised?";
}

TEST_P(RealWidth, TextLayerBelowAtAndAboveTheOriginalContext) {
  const Case golden_case(folder_of("text_3072"));
  FormulaWeights weights(golden_case.json["weight_table"]);
  const MinistralConfig config = MinistralConfig::read(config_of("text_3072"));
  const WeightLoader loader(*ops, weights);
  const MinistralLayer layer(loader.at("layers.0"), config);
  const WeightHandle norm = loader.vector("norm.weight", config.hidden_size);
  const Tensor embeds = formula_tensor("input.inputs_embeds", {1, 37, 3072}, 1.0f);

  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const std::int64_t first : {0, 16370, 32760}) {
      TensorMap seen;
      const auto positions = make_ministral_positions(*ops, config, first, 37, dtype);
      const Tensor input = dtype == DType::f32 ? to_float(embeds) : embeds;
      const Tensor output =
          layer.forward(*ops, ops->upload(input), positions, Tap(*ops, &seen, ""));
      const std::string prefix = "from" + std::to_string(first) + ".";
      expect_stored(golden_case, prefix + "attn_context", seen.tensors.at("attn_context"), 101);
      expect_stored(golden_case, prefix + "layer_output", ops->download(output), 101);
      const Tensor normed = ops->rms_norm(output, *norm, static_cast<float>(config.rms_norm_eps));
      expect_stored(golden_case, prefix + "after_final_norm", ops->download(normed), 101);
    }
  }
}

TEST_P(RealWidth, VaeDecoder) {
  const Case golden_case(folder_of("vae_512"));
  FormulaWeights weights(golden_case.json["weight_table"]);
  const VaeDecoder vae(*ops, weights, VaeConfig::read(config_of("vae_512")));

  TensorMap seen;
  const Tensor z = vae.unpack(golden_case.tensors.tensor("input.latents"));
  Tap(*ops, &seen, "").channels_first("vae.input", ops->upload(z));
  EXPECT_LE(
      golden::compare(seen.tensors.at("vae.input"), golden_case.tensors.tensor("vae.input")).nmse,
      1e-9);
  const Tensor decoded = vae.decode(ops->upload(z), {}, &seen);
  Tap(*ops, &seen, "").channels_first("vae.output", ops->upload(decoded));
  for (const std::string name :
       {"post_quant_conv", "conv_in", "mid.resnet0", "mid.attention", "mid_block", "up_block0",
        "up_block1", "up_block2", "up_block3", "conv_norm_out"}) {
    expect_stored(golden_case, name, seen.tensors.at("vae." + name), 997);
  }
  expect_stored(golden_case, "output", seen.tensors.at("vae.output"), 1);
}

TEST_P(RealWidth, VaeEncoder) {
  const Case golden_case(folder_of("vae_encoder_512"));
  FormulaWeights weights(golden_case.json["weight_table"]);
  const VaeEncoder vae(*ops, weights, VaeConfig::read(config_of("vae_encoder_512")));
  const Tensor pixels = golden_case.tensors.tensor("input.pixels");

  TensorMap seen;
  const Tensor mean = vae.encode(from_uint8(pixels, DType::f32), kBandBytes, &seen);
  for (const std::string name :
       {"conv_in", "down_block0", "down_block1", "down_block2", "down_block3", "mid.resnet0",
        "mid.attention", "mid_block", "conv_out"}) {
    expect_stored(golden_case, name, seen.tensors.at("vae_encoder." + name), 1009);
  }
  expect_stored(golden_case, "moments", seen.tensors.at("vae_encoder.moments"), 1);
  expect_stored(golden_case, "latents", vae.pack(mean), 1);

  // The reference's own bf16 run is 1.6e-4 from fp32.
  expect_stored(golden_case, "latents",
                vae.pack(vae.encode(from_uint8(pixels, DType::bf16), kBandBytes, nullptr)), 1);
}

INSTANTIATE_TEST_SUITE_P(Cpu, RealWidth, ::testing::ValuesIn(cpu_kernel_names()),
                         [](const auto& param_info) { return param_info.param; });

INSTANTIATE_TEST_SUITE_P(Ascend, RealWidth, ::testing::Values("ascend"),
                         [](const auto& param_info) { return param_info.param; });

}  // namespace
}  // namespace ernie_image
