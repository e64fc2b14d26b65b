// Adapters beside the weights against the same adapters merged into a model folder: two ways to the
// same pictures, for every kind of adapter and module.
#include <gtest/gtest.h>

#include <filesystem>

#include "adapters/adapter_store.h"
#include "adapters/final_latents.h"
#include "backend/registry.h"
#include "ernie_image/pipeline.h"
#include "io/safetensors.h"
#include "io/test_files.h"
#include "pipeline/adapter_targets.h"
#include "quantize/merge_adapters.h"
#include "support/device.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

using Tensors = std::vector<std::pair<std::string, Tensor>>;

constexpr std::int64_t kHidden = 128, kFfn = 320;  // of tiny_a

/// Numbers of about `size`, the same every time.
Tensor noise(const Shape& shape, float size, std::uint32_t seed) {
  Tensor tensor = Tensor::host(DType::f32, shape);
  std::uint32_t state = seed * 2654435761u + 1;
  for (float& value : tensor.span<float>()) {
    state = state * 1664525u + 1013904223u;
    value = size * (static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1.0f);
  }
  return tensor;
}

Tensor scalar(float value) {
  Tensor tensor = Tensor::host(DType::f32, {});
  tensor.data<float>()[0] = value;
  return tensor;
}

void add_lora(Tensors& tensors, const std::string& module, std::int64_t outputs,
              std::int64_t inputs, std::uint32_t seed, float size = 0.1f) {
  tensors.emplace_back(module + ".lora_A.weight", noise({3, inputs}, size, seed));
  tensors.emplace_back(module + ".lora_B.weight", noise({outputs, 3}, size, seed + 1));
  tensors.emplace_back(module + ".alpha", scalar(4));
}

/// Near one, as magnitudes of weights of tiny_a are.
Tensor magnitude(const Shape& shape, std::uint32_t seed) {
  Tensor tensor = noise(shape, 0.3f, seed);
  for (float& value : tensor.span<float>()) value += 1.0f;
  return tensor;
}

struct Made {
  std::string name;
  Tensors tensors;
  int merged_layers = 0;  ///< that get a copy of their weight
};

std::vector<Made> adapters() {
  const std::string attention = "transformer.layers.1.self_attention.";
  std::vector<Made> made;
  {
    Tensors tensors;
    add_lora(tensors, attention + "to_k", kHidden, kHidden, 1);
    add_lora(tensors, "transformer.layers.2.mlp.linear_fc2", kHidden, kFfn, 2);
    add_lora(tensors, "transformer.text_proj", kHidden, 64, 3);
    add_lora(tensors, "transformer.adaLN_modulation.1", 6 * kHidden, kHidden, 4, 0.03f);
    add_lora(tensors, "transformer.final_linear", 128, kHidden, 5);
    tensors.emplace_back("transformer.final_linear.lora_B.bias", noise({128}, 0.1f, 6));
    made.push_back({"lora", tensors});
  }
  {
    Tensors tensors;
    add_lora(tensors, attention + "to_v", kHidden, kHidden, 11);
    tensors.emplace_back(attention + "to_v.dora_scale", magnitude({kHidden, 1}, 12));
    add_lora(tensors, "transformer.final_norm.linear", 2 * kHidden, kHidden, 13, 0.03f);
    tensors.emplace_back("transformer.final_norm.linear.lora_magnitude_vector",
                         magnitude({2 * kHidden}, 14));
    made.push_back({"dora_rows", tensors});
  }
  {
    Tensors tensors;
    add_lora(tensors, attention + "to_q", kHidden, kHidden, 21);
    tensors.emplace_back(attention + "to_q.dora_scale", magnitude({1, kHidden}, 22));
    add_lora(tensors, "transformer.layers.0.mlp.up_proj", kFfn, kHidden, 23);
    tensors.emplace_back("transformer.layers.0.mlp.up_proj.dora_scale",
                         magnitude({1, kHidden}, 24));
    made.push_back({"dora_columns", tensors});
  }
  {
    Tensors tensors;
    for (const auto& [name, part] :
         {std::pair<std::string, Tensor>{"w1_a", noise({8, 2}, 0.5f, 31)},
          {"w1_b", noise({2, 8}, 0.5f, 32)},
          {"w2", noise({40, 16}, 0.1f, 33)}})
      tensors.emplace_back("transformer.layers.0.mlp.gate_proj.lokr_" + name, part);
    tensors.emplace_back("transformer.layers.0.mlp.gate_proj.alpha", scalar(3));
    tensors.emplace_back("transformer.layers.0.mlp.gate_proj.dora_scale",
                         magnitude({1, kHidden}, 34));
    made.push_back({"lokr_dora", tensors});
  }
  {
    Tensors tensors;
    const auto add = [&](const std::string& module, std::int64_t rank, std::uint32_t seed) {
      for (const auto& [name, part] :
           {std::pair<std::string, Tensor>{"w1_a", noise({kHidden, rank}, 0.3f, seed)},
            {"w1_b", noise({rank, kHidden}, 0.3f, seed + 1)},
            {"w2_a", noise({kHidden, rank}, 0.3f, seed + 2)},
            {"w2_b", noise({rank, kHidden}, 0.3f, seed + 3)}})
        tensors.emplace_back(module + ".hada_" + name, part);
    };
    add(attention + "to_q", 3, 41);
    add(attention + "to_v", 12, 45);  // of rank 144: merged
    made.push_back({"loha", tensors, 1});
  }
  made.push_back(
      {"full",
       {{"transformer.layers.0.self_attention.to_k.diff", noise({kHidden, kHidden}, 0.05f, 51)},
        {"transformer.layers.0.self_attention.norm_k.diff", noise({64}, 0.2f, 52)},
        {"transformer.layers.1.adaLN_sa_ln.set_weight", magnitude({kHidden}, 53)},
        {"transformer.x_embedder.proj.diff_b", noise({kHidden}, 0.2f, 54)}},
       1});
  return made;
}

class AdapterMerge : public test::TemporaryFolder {
 protected:
  static std::string model_path() { return golden::data_path("reference/models/tiny_a"); }

  static Tensor draw(const std::string& model, const std::vector<Adapter>& adapters,
                     Quantization quantization = Quantization::none) {
    LoadOptions options;
    options.model = model;
    options.quantization = quantization;
    return draw(options, adapters);
  }

  static Tensor draw(LoadOptions options, const std::vector<Adapter>& adapters) {
    options.device = test_device();
    FinalLatents trace;
    Request request;
    request.prompts = {"two bicycles"};
    request.height_px = 64;
    request.width_px = 64;
    request.num_inference_steps = 2;
    request.adapters = adapters;
    request.trace = &trace;
    Pipeline::load(options).generate(request);
    return to_float(trace.latents);
  }

  /// Merges the file into a folder of that name and says how many layers get copies otherwise.
  AdapterMemory merge(const std::string& file, double strength, const std::string& name) {
    const auto backend = make_backend({});
    Model model(*backend, resolve_model(model_path()), Quantization::none);
    const AdapterTargets targets = adapter_targets(model);
    AdapterStore store(targets);
    const std::vector<ActiveAdapter> active = {{store.open(file), strength}};
    merge_adapters(model, {path(name), active, nullptr});
    return AdapterAttachment(*backend, model.weights.transformer, "", "transformer", DType::f32)
        .memory(active);
  }
};

TEST_F(AdapterMerge, BesideTheWeightsIsTheSame) {
  const Tensor plain = draw(model_path(), {});
  for (const Made& made : adapters()) {
    SCOPED_TRACE(made.name);
    const std::string file = path(made.name + ".safetensors");
    write_safetensors(file, made.tensors);
    const AdapterMemory memory = merge(file, 0.7, made.name);
    EXPECT_EQ(memory.merged_layers, made.merged_layers);
    EXPECT_GT(memory.bytes, 0u);
    const Tensor beside = draw(model_path(), {{file, 0.7, -1}});
    const Tensor merged = draw(path(made.name), {});
    // Sums in another order.
    EXPECT_LE(golden::compare(beside, merged).nmse, 1e-10);
    EXPECT_GE(golden::compare(beside, plain).nmse, 1e-5);
  }
}

/// The text encoder's table and layers, whose last is in the file and never computed.
TEST_F(AdapterMerge, TextEncoderToo) {
  const auto backend = make_backend({});
  const Model model(*backend, resolve_model(model_path()), Quantization::none);
  const MinistralConfig& config = model.configs.text_encoder;
  const std::string prefix = "base_model.model.language_model.";
  const std::int64_t width = config.hidden_size;
  Tensors tensors;
  add_lora(tensors, prefix + "layers.0.self_attn.q_proj",
           config.num_attention_heads * config.head_dim, width, 61);
  add_lora(tensors, prefix + "layers.0.mlp.down_proj", width, config.intermediate_size, 62);
  const std::string last = std::to_string(config.num_hidden_layers - 1);
  add_lora(tensors, prefix + "layers." + last + ".mlp.down_proj", width, config.intermediate_size,
           63);
  tensors.emplace_back(prefix + "embed_tokens.lora_embedding_A",
                       noise({2, config.vocab_size}, 0.3f, 64));
  tensors.emplace_back(prefix + "embed_tokens.lora_embedding_B", noise({width, 2}, 0.3f, 65));
  const std::string file = path("t.safetensors");
  write_safetensors(file, tensors);
  merge(file, 0.7, "t");
  const Tensor beside = draw(model_path(), {{file, 0.7, -1}});
  EXPECT_LE(golden::compare(beside, draw(path("t"), {})).nmse, 1e-10);
  EXPECT_GE(golden::compare(beside, draw(model_path(), {})).nmse, 1e-6);
}

/// The text states of a prompt are remembered, and not those of another encoder.
TEST_F(AdapterMerge, RememberedTextStatesAreOfTheAdapterAtHand) {
  const std::string file = path("t.safetensors");
  Tensors tensors;
  const std::string module = "text_encoder.layers.0.mlp.";
  const auto backend = make_backend({});
  const Model model(*backend, resolve_model(model_path()), Quantization::none);
  const MinistralConfig& config = model.configs.text_encoder;
  add_lora(tensors, module + "down_proj", config.hidden_size, config.intermediate_size, 71, 0.3f);
  write_safetensors(file, tensors);
  LoadOptions options;
  options.model = model_path();
  options.device = test_device();
  Pipeline pipeline = Pipeline::load(options);
  const auto run = [&](const std::vector<Adapter>& with) {
    FinalLatents trace;
    Request request;
    request.prompts = {"two bicycles"};
    request.height_px = request.width_px = 64;
    request.num_inference_steps = 1;
    request.adapters = with;
    request.trace = &trace;
    pipeline.generate(request);
    return to_float(trace.latents);
  };
  const Tensor plain = run({});
  EXPECT_GT(golden::compare(run({{file, 1.0, -1}}), plain).nmse, 1e-8);
  EXPECT_EQ(golden::compare(run({}), plain).max_abs, 0);
}

/// What looks at a weight decodes it: beside the weights of another program's file it is as beside
/// the same numbers in a plain one.
TEST_F(AdapterMerge, FilesOfOtherProgramsAreReadAsTheyAre) {
  constexpr std::int64_t kWidth = 96;  // of tiny_b
  Tensors tensors;
  const std::string attention = "transformer.layers.1.self_attention.";
  add_lora(tensors, attention + "to_k", kWidth, kWidth, 81);
  tensors.emplace_back(attention + "to_k.dora_scale", magnitude({kWidth}, 82));
  tensors.emplace_back(attention + "to_v.diff", noise({kWidth, kWidth}, 0.05f, 83));
  tensors.emplace_back("transformer.layers.0.adaLN_sa_ln.diff", noise({kWidth}, 0.2f, 84));
  tensors.emplace_back("transformer.x_embedder.proj.diff_b", noise({kWidth}, 0.2f, 85));
  write_safetensors(path("l.safetensors"), tensors);
  LoadOptions options;
  options.model = golden::data_path("reference/models/tiny_b");
  for (const char* file : {"gguf/q8_0/dit_q8_0.gguf", "quant/comfy_fp8/comfy_fp8.safetensors"}) {
    SCOPED_TRACE(file);
    options.parts.transformer = golden::data_path("formats/" + std::string(file));
    Tensors decoded;
    for (const Weight& weight : WeightFiles(options.parts.transformer).all())
      decoded.emplace_back(weight.name, widened(weight));
    write_safetensors(path("decoded.safetensors"), decoded);
    LoadOptions plain = options;
    plain.parts.transformer = path("decoded.safetensors");
    const std::vector<Adapter> with = {{path("l.safetensors"), 0.7, -1}};
    const Tensor changed = draw(options, with);
    EXPECT_LE(golden::compare(changed, draw(plain, with)).nmse, 1e-10);
    EXPECT_GE(golden::compare(changed, draw(options, {})).nmse, 1e-5);
  }
}

/// They are written with the names and in the format of the file: nothing is left out in silence.
TEST_F(AdapterMerge, OnlyIntoFoldersOfPlainFilesWithTheNamesOfDiffusers) {
  Tensors tensors;
  add_lora(tensors, "transformer.layers.1.self_attention.to_k", kHidden, kHidden, 1);
  write_safetensors(path("l.safetensors"), tensors);
  const auto backend = make_backend({});
  const auto expect_refusal = [&](const ModelFolder& folder) {
    Model model(*backend, folder, Quantization::none);
    const AdapterTargets targets = adapter_targets(model);
    AdapterStore store(targets);
    test::expect_error(ErrorKind::unsupported, {"--lora instead"}, [&] {
      merge_adapters(model, {path("out"), {{store.open(path("l.safetensors")), 1}}, nullptr});
    });
    EXPECT_FALSE(std::filesystem::exists(path("out")));
  };
  const std::string weights = "/transformer/diffusion_pytorch_model.safetensors";
  ModelParts parts;
  parts.transformer = model_path() + weights;
  expect_refusal(resolve_model(model_path(), parts));
  std::filesystem::copy(model_path(), path("m"), std::filesystem::copy_options::recursive);
  Tensors renamed;
  const SafetensorsFile file = SafetensorsFile::open(model_path() + weights);
  for (const std::string& name : file.names())
    renamed.emplace_back("model.diffusion_model." + name, file.tensor(name));
  write_safetensors(path("m") + weights, renamed);
  expect_refusal(resolve_model(path("m")));
}

TEST_F(AdapterMerge, QuantisedWeightsStayAsTheyAre) {
  if (test_device() == "ascend") GTEST_SKIP() << "this device has no quantised weights";
  Tensors tensors;
  add_lora(tensors, "transformer.layers.1.self_attention.to_k", kHidden, kHidden, 1);
  tensors.emplace_back("transformer.layers.1.self_attention.to_k.dora_scale",
                       magnitude({kHidden}, 2));
  write_safetensors(path("q.safetensors"), tensors);
  const std::vector<Adapter> with = {{path("q.safetensors"), 1.0, -1}};
  const Tensor exact = draw(model_path(), with);
  const Tensor plain = draw(model_path(), {});
  const Tensor rounded = draw(model_path(), with, Quantization::int8);
  const double rounding = golden::compare(draw(model_path(), {}, Quantization::int8), plain).nmse;
  EXPECT_LE(golden::compare(rounded, exact).nmse, 4 * rounding);
  EXPECT_GE(golden::compare(exact, plain).nmse, 10 * rounding);
}

}  // namespace
}  // namespace ernie_image
