// A quantised folder holds, bit for bit, what quantising while loading makes.
#include "quantize/quantize_model.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>

#include "../io/test_files.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/prepared_weight.h"
#include "checkpoint/model.h"
#include "core/row_codes.h"
#include "enhance/prompt_enhancer.h"
#include "ernie_image/pipeline.h"
#include "io/model_manifest.h"
#include "io/weight_files.h"
#include "models/quantized_weights.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

const std::string kModels = std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/";

class QuantizeModelTest : public test::TemporaryFolder {
 protected:
  QuantizeRequest request(const std::string& source, Quantization quantization) const {
    QuantizeRequest request;
    request.source = resolve_model(source);
    request.output = path("q");
    request.quantization = quantization;
    request.components = {"transformer", "text_encoder", "pe"};
    return request;
  }
  void expect_refused(const QuantizeRequest& request, const std::string& part) const {
    expect_error(ErrorKind::invalid_argument, {part}, [&] { quantize_model(request); });
  }
};

/// By name; they keep their file mapped.
std::map<std::string, Weight> packed_in_file(const std::string& folder, const std::string& stem) {
  std::map<std::string, Weight> packed;
  for (const Weight& weight : WeightFiles(folder, stem).all()) {
    if (weight.format != WeightFormat::plain) packed[weight.name] = weight;
  }
  return packed;
}

void expect_bytes_of_loading(const std::string& source, const std::string& output,
                             const std::string& stem, Quantization quantization) {
  const auto ops = make_cpu_backend({2, "auto"});
  const WeightFiles plain(source, stem);
  const auto packed = packed_in_file(output, stem);
  ASSERT_FALSE(packed.empty());
  for (const Weight& weight : plain.all()) {
    const auto found = packed.find(weight.name);
    const WeightFormat wanted =
        format_in_file(quantized_weights(), plain, weight.name, quantization);
    EXPECT_EQ(found != packed.end(), weight.shape.size() == 2 && wanted != WeightFormat::plain)
        << weight.name;
    if (found == packed.end()) continue;
    const WeightHandle handle =
        ops->prepare(weight, WeightUse::linear,
                     layer_quantization(quantized_weights(), plain, weight.name, quantization));
    const Weight& loaded = as_cpu_weight(*handle, WeightUse::linear).source;
    ASSERT_EQ(loaded.format, found->second.format);
    ASSERT_EQ(loaded.size_bytes(), found->second.size_bytes());
    EXPECT_EQ(std::memcmp(loaded.data, found->second.data, loaded.size_bytes()), 0) << weight.name;
  }
}

TEST_F(QuantizeModelTest, HoldsTheBytesThatLoadingMakes) {
  for (const char* model : {"tiny_a", "tiny_b"}) {
    for (const Quantization quantization : {Quantization::int8, Quantization::int4}) {
      const std::string source = kModels + model;
      QuantizeRequest job = request(source, quantization);
      job.output = path(std::string(model) + std::to_string(static_cast<int>(quantization)));
      quantize_model(job);
      expect_bytes_of_loading(source + "/transformer", job.output + "/transformer",
                              "diffusion_pytorch_model", quantization);
      expect_bytes_of_loading(source + "/text_encoder", job.output + "/text_encoder", "model",
                              quantization);
      expect_bytes_of_loading(source + "/pe", job.output + "/pe", "model", quantization);
    }
  }
}

/// Nearer than a step of the codes would be if the rotation were not undone, in whatever parts.
TEST_F(QuantizeModelTest, ForAscendRowsOfInt8AreWhatLoadingMakesAndDecode) {
  const std::string source = kModels + "tiny_a";
  QuantizeRequest job = request(source, Quantization::int8);
  job.target = QuantizeTarget::ascend;
  EXPECT_GT(quantize_model(job).packed_tensors, 10u);
  EXPECT_EQ(ModelManifest::read(job.output)->quantization, "int8_rows");
  const WeightFiles plain(source + "/transformer", "diffusion_pytorch_model");
  const auto packed = packed_in_file(path("q/transformer"), "diffusion_pytorch_model");
  EXPECT_EQ(packed.size(), 7u * 3 - 4) << "but for to_v and to_out of the last two layers";
  for (const auto& [name, weight] : packed) {
    const Weight& exact = *plain.find(name);
    const auto depth = static_cast<std::size_t>(exact.shape[1]);
    const auto stored = weight.decoder->row_codes();
    ASSERT_TRUE(stored) << name;
    double error = 0, square = 0;
    std::vector<float> scratch(depth), values(depth), decoded(depth);
    std::vector<std::int8_t> codes(depth);
    for (std::int64_t row = 0; row < exact.shape[0]; ++row) {
      const std::int64_t first = row * exact.shape[1];
      const float scale = make_row_codes(exact, row, scratch, codes.data());
      ASSERT_EQ(std::memcmp(stored->codes + first, codes.data(), depth), 0) << name << " " << row;
      ASSERT_EQ(std::memcmp(stored->scales + row * 4, &scale, 4), 0) << name << " " << row;
      widen_elements(exact, first, exact.shape[1], values.data());
      weight.decoder->decode(first, 5, decoded.data());
      weight.decoder->decode(first + 5, exact.shape[1] - 5, decoded.data() + 5);
      for (std::size_t k = 0; k < depth; ++k) {
        error += (decoded[k] - values[k]) * (decoded[k] - values[k]);
        square += values[k] * values[k];
      }
    }
    EXPECT_LE(error / square, 1e-4) << name;
  }
  Request drawn;
  drawn.prompts = {"a red apple"};
  drawn.height_px = drawn.width_px = 64;
  drawn.num_inference_steps = 1;
  EXPECT_EQ(Pipeline::load({.model = job.output}).generate(drawn).images.size(), 1u);
  job.quantization = Quantization::int4;
  job.force = true;
  expect_refused(job, "--target ascend is for --quant int8");
}

TEST_F(QuantizeModelTest, QuantisesTheLinearLayersOfTheBlocksOnly) {
  quantize_model(request(kEmbeddedModel, Quantization::int4));
  const auto transformer = packed_in_file(path("q/transformer"), "diffusion_pytorch_model");
  EXPECT_TRUE(transformer.contains("layers.0.self_attention.to_out.0.weight"));
  EXPECT_TRUE(transformer.contains("layers.0.mlp.linear_fc2.weight"));
  const ModelConfigs configs = ModelConfigs::read(resolve_model(path("q")));
  EXPECT_EQ(transformer.size(), 7u * static_cast<std::size_t>(configs.transformer.num_layers));
  const auto text = packed_in_file(path("q/text_encoder"), "model");
  EXPECT_EQ(text.size(), 7u * static_cast<std::size_t>(configs.text_encoder.num_hidden_layers))
      << "neither the table nor the vision tower";
}

TEST_F(QuantizeModelTest, WeightsAreUsedWhereTheyAreMapped) {
  quantize_model(request(kEmbeddedModel, Quantization::int8));
  const auto ops = make_cpu_backend({1, "auto"});
  const WeightFiles weights(path("q/transformer"), "diffusion_pytorch_model");
  for (const Weight& weight : weights.all()) {
    if (weight.format == WeightFormat::plain) continue;
    const WeightHandle handle = ops->prepare(weight, WeightUse::linear);
    EXPECT_EQ(as_cpu_weight(*handle, WeightUse::linear).source.data, weight.data);
  }
}

TEST_F(QuantizeModelTest, ShardsKeepBytesAndLimits) {
  QuantizeRequest job = request(kModels + "tiny_a", Quantization::int8);
  quantize_model(job);
  job.output = path("sharded");
  job.max_shard_bytes = 100'000;
  quantize_model(job);
  const WeightFiles whole(path("q/transformer"), "diffusion_pytorch_model");
  const WeightFiles sharded(path("sharded/transformer"), "diffusion_pytorch_model");
  EXPECT_EQ(whole.files().size(), 1u);
  EXPECT_GT(sharded.files().size(), 2u);
  const auto a = whole.all(), b = sharded.all();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].name, b[i].name);
    ASSERT_EQ(a[i].size_bytes(), b[i].size_bytes());
    EXPECT_EQ(std::memcmp(a[i].data, b[i].data, a[i].size_bytes()), 0) << a[i].name;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b[i].data) % size_of(b[i].dtype), 0u);
  }
  for (const auto& shard : sharded.files()) {
    const TensorFile& file = *shard;
    if (file.names().size() == 1) continue;  // a tensor larger than the limit
    EXPECT_LT(file.file().bytes.size(), 110'000u) << file.path();
  }
}

TEST_F(QuantizeModelTest, OtherFilesAreTheSource) {
  quantize_model(request(kModels + "tiny_a", Quantization::int8));
  for (const char* name : {"model_index.json", "vae/config.json", "tokenizer/tokenizer.json",
                           "vae/diffusion_pytorch_model.safetensors", "pe/config.json",
                           "pe_tokenizer/chat_template.jinja", "transformer/config.json"}) {
    EXPECT_EQ(test::read_whole(path(std::string("q/") + name)),
              test::read_whole(kModels + "tiny_a/" + name))
        << name;
  }
  EXPECT_TRUE(damaged_files(path("q"), *ModelManifest::read(path("q"))).empty());
}

/// Stops the run once half of the bytes are done.
QuantizeRequest stopping_half_way(QuantizeRequest request) {
  const auto token = std::make_shared<CancelToken>();
  request.cancel = token;
  request.on_progress = [token](const QuantizeProgress& progress) {
    if (2 * progress.bytes > progress.all_bytes) token->request();
  };
  return request;
}

TEST_F(QuantizeModelTest, GoesOnWhereItWasInterrupted) {
  const QuantizeRequest job = request(kModels + "tiny_b", Quantization::int8);
  expect_error(ErrorKind::cancelled, {}, [&] { quantize_model(stopping_half_way(job)); });
  EXPECT_FALSE(fs::exists(path("q/model_index.json"))) << "no model yet";
  for (const auto& entry : fs::recursive_directory_iterator(path("q")))
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();

  const auto begun = ModelManifest::read(path("q"));
  ASSERT_TRUE(begun);
  ASSERT_GT(begun->files.size(), 3u);
  write("q/" + begun->files.begin()->first, "damaged meanwhile");
  write("q/transformer/.ernie-image-1-0.tmp", "left by a killed process");
  const QuantizeResult result = quantize_model(job);
  EXPECT_EQ(result.kept_files, begun->files.size() - 1);
  EXPECT_FALSE(fs::exists(path("q/transformer/.ernie-image-1-0.tmp")));
  EXPECT_TRUE(damaged_files(path("q"), *ModelManifest::read(path("q"))).empty());

  QuantizeRequest in_one_go = job;
  in_one_go.output = path("whole");
  quantize_model(in_one_go);
  EXPECT_EQ(ModelManifest::read(path("whole"))->files, ModelManifest::read(path("q"))->files);
}

TEST_F(QuantizeModelTest, NumberOfThreadsIsNoMatter) {
  QuantizeRequest job = request(kEmbeddedModel, Quantization::int4);
  job.num_threads = 1;
  quantize_model(job);
  job.num_threads = 3;
  job.output = path("three");
  quantize_model(job);
  EXPECT_EQ(ModelManifest::read(path("q"))->files, ModelManifest::read(path("three"))->files);
}

TEST_F(QuantizeModelTest, UnfinishedFolderOfAnotherJobIsRefusedWithoutForce) {
  const QuantizeRequest job = request(kModels + "tiny_a", Quantization::int8);
  expect_error(ErrorKind::cancelled, {}, [&] { quantize_model(stopping_half_way(job)); });
  QuantizeRequest other = job;
  other.quantization = Quantization::int4;
  expect_refused(other, "other options");
  other.force = true;
  EXPECT_EQ(quantize_model(other).kept_files, 0u);
  EXPECT_EQ(ModelManifest::read(path("q"))->quantization, "int4");
}

TEST_F(QuantizeModelTest, RefusesOutputsThatAreNotItsOwn) {
  fs::copy(kModels + "tiny_a", path("m"), fs::copy_options::recursive);
  QuantizeRequest job = request(path("m"), Quantization::int8);
  for (const char* output : {"m", "m/", "m/q", "m/transformer", "m/../m", "q/../m/x"}) {
    job.output = path(output);
    expect_refused(job, "--output");
  }
  job.output = folder_;
  expect_refused(job, "holds the source");
  fs::create_directory_symlink(path("m"), path("link"));
  job.output = path("link");
  expect_refused(job, "the source itself");
  write("full/notes.txt", "mine");
  job.output = path("full");
  job.force = true;
  expect_refused(job, "is not empty");
  job.output = write("file", "x");
  expect_refused(job, "is a file");
  job.output = "embedded:emoji-tiny";
  expect_refused(job, "built into");
  job.output = path("no/such");
  expect_error(ErrorKind::not_found, {"no/such"}, [&] { quantize_model(job); });
}

TEST_F(QuantizeModelTest, FinishedOutputAndQuantisedSourceAreRefused) {
  QuantizeRequest job = request(kModels + "tiny_a", Quantization::int8);
  quantize_model(job);
  expect_refused(job, "is finished");
  job.force = true;
  EXPECT_EQ(quantize_model(job).kept_files, 0u);
  job.source = resolve_model(path("q"));
  job.output = path("again");
  expect_refused(job, "quantised already");
  fs::remove(path("q/quantization.json"));
  expect_refused(job, "quantised to int8 already");
  EXPECT_FALSE(fs::exists(path("again")));
}

TEST_F(QuantizeModelTest, ForceLeavesFilesThatAreNotItsOwn) {
  QuantizeRequest job = request(kModels + "tiny_a", Quantization::int8);
  job.max_shard_bytes = 100'000;
  quantize_model(job);
  write("q/notes.txt", "mine");
  job.max_shard_bytes = 4'000'000'000;
  job.force = true;
  quantize_model(job);
  EXPECT_TRUE(fs::exists(path("q/notes.txt")));
  EXPECT_FALSE(fs::exists(path("q/transformer/diffusion_pytorch_model.safetensors.index.json")));
  EXPECT_NO_THROW(Pipeline::load({.model = path("q")}));
}

TEST_F(QuantizeModelTest, FullDiskIsAnErrorAndLeavesNoPart) {
  const QuantizeRequest job = request(kModels + "tiny_a", Quantization::int8);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{40'000, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  expect_error(ErrorKind::io, {"cannot write"}, [&] { quantize_model(job); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(fs::exists(path("q/model_index.json")));
  for (const auto& entry : fs::recursive_directory_iterator(path("q")))
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
  EXPECT_GT(quantize_model(job).kept_files, 0u);
}

TEST_F(QuantizeModelTest, DefaultsAreThoseOfTheSource) {
  fs::copy(kModels + "tiny_a", path("ERNIE-Image"), fs::copy_options::recursive);
  quantize_model(request(path("ERNIE-Image"), Quantization::int8));
  const ModelConfigs configs = ModelConfigs::read(resolve_model(path("q")));
  EXPECT_EQ(configs.defaults.num_inference_steps, 50);
  EXPECT_EQ(configs.defaults.guidance_scale, 4.0);
}

TEST_F(QuantizeModelTest, PackedWeightsHaveToBeLinearLayers) {
  quantize_model(request(kModels + "tiny_a", Quantization::int8));
  const auto ops = make_cpu_backend({1, "auto"});
  WeightFiles weights(path("q/transformer"), "diffusion_pytorch_model");
  const WeightLoader loader(*ops, weights, "layers.0.mlp.");
  const TransformerConfig config = ModelConfigs::read(resolve_model(path("q"))).transformer;
  const Shape up = {config.ffn_hidden_size, config.hidden_size};
  EXPECT_TRUE(loader.load("up_proj.weight", up, WeightUse::linear));
  expect_error(ErrorKind::corrupt_file, {"layers.0.mlp.up_proj.weight", "only linear layers"},
               [&] { loader.load("up_proj.weight", up, WeightUse::embedding); });
}

TEST_F(QuantizeModelTest, OtherQuantizationOfAPackedWeightIsRefused) {
  quantize_model(request(kModels + "tiny_a", Quantization::int8));
  const auto ops = make_cpu_backend({1, "auto"});
  const ModelFolder folder = resolve_model(path("q"));
  expect_error(ErrorKind::invalid_argument, {"quantised to int8", "cannot become int4"},
               [&] { PromptEnhancer(*ops, folder, DType::f32, Quantization::int4); });
  EXPECT_NO_THROW(PromptEnhancer(*ops, folder, DType::f32, Quantization::int8));
}

}  // namespace
}  // namespace ernie_image
