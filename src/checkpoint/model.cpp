#include "checkpoint/model.h"

#include <algorithm>
#include <utility>

#include "checkpoint/file_configs.h"
#include "core/ascii.h"
#include "ernie_image/error.h"
#include "io/file_view.h"
#include "io/json_reader.h"

namespace ernie_image {
namespace {

JsonReader open_config(const ModelFolder& folder, const std::string& part,
                       const std::string& name = "config.json") {
  return JsonReader::open(join_path(folder.component(part), name));
}

/// The base model needs 50 steps with guidance 4, everything else made from it (Turbo, the embedded
/// model) 8 without. The two checkpoints differ in nothing but their name.
bool is_base_model(const std::string& name) {
  const std::string lower = lower_case(name);
  return lower.find("ernie-image") != std::string::npos && lower.find("turbo") == std::string::npos;
}

void check_fit(const ModelConfigs& configs, const ModelFolder& folder) {
  const auto mismatch = [&](const std::string& message) {
    throw Error(ErrorKind::corrupt_file, folder.path + ": " + message);
  };
  if (configs.text_encoder.hidden_size != configs.transformer.text_in_dim) {
    mismatch("the text encoder's hidden_size " + std::to_string(configs.text_encoder.hidden_size) +
             " is not the transformer's text_in_dim " +
             std::to_string(configs.transformer.text_in_dim));
  }
  if (configs.transformer.in_channels != configs.transformer.out_channels) {
    mismatch("the transformer's in_channels " + std::to_string(configs.transformer.in_channels) +
             " and out_channels " + std::to_string(configs.transformer.out_channels) + " differ");
  }
  if (configs.transformer.in_channels != configs.vae.packed_channels()) {
    mismatch("the transformer's in_channels " + std::to_string(configs.transformer.in_channels) +
             " are not 4 x the VAE's latent_channels " +
             std::to_string(configs.vae.latent_channels));
  }
}

template <typename Network, typename Config, typename... Options>
Network build(Backend& ops, WeightFiles& weights, const Config& config, Options... options) {
  Network network(ops, weights, config, options...);
  weights.require_complete();
  weights.release_pages();  // of what was copied while loading
  return network;
}

/// Quantised weights are a copy, so the file's pages may go.
Transformer build_transformer(Backend& ops, WeightFiles& weights, const TransformerConfig& config,
                              Quantization quantization, const WeightShare& share) {
  Transformer transformer = build<Transformer>(ops, weights, config, quantization, share);
  if (quantization != Quantization::none) weights.release_pages();
  return transformer;
}

ModelWeights checked_weights(
    const ModelFolder& folder, const ModelConfigs& configs, DType expanded,
    const std::function<void(const ModelConfigs&, const ModelWeights&)>& check) {
  ModelWeights weights(folder, expanded);
  if (check) check(configs, weights);
  return weights;
}

}  // namespace

std::uint64_t tokenizer_memory_bytes(const ModelFolder& folder, const std::string& part) {
  const std::string path = join_path(folder.component(part), "tokenizer.json");
  return file_exists(path) ? open_file(path).bytes.size() / 2 * 3 : 0;
}

ModelConfigs ModelConfigs::read(const ModelFolder& folder) {
  ModelConfigs configs;
  const auto config_of = [&](Component component) {
    FileConfig config = part_config(folder, component);
    configs.notes.insert(configs.notes.end(), config.notes.begin(), config.notes.end());
    return config.reader;
  };
  const JsonReader vae_config = config_of(Component::vae);
  configs.text_encoder = MinistralConfig::read(config_of(Component::text_encoder));
  configs.transformer = TransformerConfig::read(config_of(Component::transformer));
  configs.vae = VaeConfig::read(vae_config);
  configs.scheduler =
      SchedulerConfig::read(open_config(folder, "scheduler", "scheduler_config.json"));
  if (folder.origin == kEmbeddedModel) {
    const auto side = static_cast<int>(vae_config.integer("sample_size", 64, 1, 1024));
    configs.defaults.height_px = configs.defaults.width_px = side;
  }
  if (is_base_model(folder.origin)) {
    configs.defaults.num_inference_steps = 50;
    configs.defaults.guidance_scale = 4.0;
  }
  check_fit(configs, folder);
  return configs;
}

std::vector<std::string> ModelWeights::notes() const {
  std::vector<std::string> result;
  for (const auto& [part, files] :
       {std::pair{"text_encoder", &text_encoder}, {"transformer", &transformer}, {"vae", &vae}}) {
    std::string ignored;
    for (const std::string& name : files->ignored_files())
      ignored += (ignored.empty() ? "" : ", ") + name;
    if (ignored.empty()) continue;
    const std::string& read = files->files().front()->path();
    result.push_back(
        std::string(part) + ": the weights are those of " + read.substr(read.rfind('/') + 1) +
        (files->files().size() > 1 ? " and the other shards" : "") + "; not read: " + ignored);
  }
  return result;
}

Model::Model(Backend& ops, const ModelFolder& model_folder, Quantization quantization,
             DType expanded,
             const std::function<void(const ModelConfigs&, const ModelWeights&)>& check,
             const WeightShare& share)
    : folder(model_folder),
      configs(ModelConfigs::read(folder)),
      weights(checked_weights(folder, configs, expanded, check)),
      tokenizer(Tokenizer::open(folder.component("tokenizer"))),
      text_encoder(build<TextEncoder>(ops, weights.text_encoder, configs.text_encoder, share)),
      transformer(
          build_transformer(ops, weights.transformer, configs.transformer, quantization, share)),
      vae(build<VaeDecoder>(ops, weights.vae, configs.vae)) {}

}  // namespace ernie_image
