// A loaded model folder: configs, mapped weights, the networks on one device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "ernie_image/precision.h"
#include "ernie_image/request.h"
#include "io/model_folder.h"
#include "io/weight_files.h"
#include "models/ministral.h"
#include "models/text_encoder.h"
#include "models/transformer.h"
#include "models/vae_decoder.h"
#include "sampling/scheduler.h"
#include "tokenizer/tokenizer.h"

namespace ernie_image {

/// Every size and constant of a folder, read without touching its weights.
struct ModelConfigs {
  MinistralConfig text_encoder;
  TransformerConfig transformer;
  VaeConfig vae;
  SchedulerConfig scheduler;
  /// What the options become that a request leaves open.
  Request defaults{
      .height_px = 1024, .width_px = 1024, .num_inference_steps = 8, .guidance_scale = 1.0};
  /// Of parts in files: what does not come from a config, for people.
  std::vector<std::string> notes;

  /// Throws Error if a config is missing or wrong, or if two components do not fit together.
  static ModelConfigs read(const ModelFolder& folder);
};

/// Memory that a tokenizer will take: some half more than its file (measured on the released one).
std::uint64_t tokenizer_memory_bytes(const ModelFolder& folder, const std::string& part);

/// The weights of the components, `<folder>/<part>/<stem>*.safetensors` or the files in their
/// place. `expanded`: see WeightFiles.
struct ModelWeights {
  explicit ModelWeights(const ModelFolder& folder, DType expanded = DType::f32)
      : text_encoder(folder.weights("text_encoder"), "model", Component::text_encoder, expanded),
        transformer(folder.weights("transformer"), "diffusion_pytorch_model",
                    Component::transformer, expanded),
        vae(folder.weights("vae"), "diffusion_pytorch_model", Component::vae, expanded),
        tokenizer_bytes(tokenizer_memory_bytes(folder, "tokenizer")) {}

  /// Which files of the folders are not read, a line for each part that has such.
  std::vector<std::string> notes() const;

  WeightFiles text_encoder;
  WeightFiles transformer;
  WeightFiles vae;
  std::uint64_t tokenizer_bytes;  ///< that the tokenizer takes in memory
};

struct Model {
  /// `quantization` is the transformer's; `expanded` what a device without kernels for a file's
  /// format makes of it; `share` is what the device has of the weights of text encoder and
  /// transformer. `check` may throw before weights are read or copied.
  Model(Backend& ops, const ModelFolder& model_folder, Quantization quantization,
        DType expanded = DType::f32,
        const std::function<void(const ModelConfigs&, const ModelWeights&)>& check = {},
        const WeightShare& share = {});

  ModelFolder folder;
  ModelConfigs configs;
  ModelWeights weights;
  Tokenizer tokenizer;
  TextEncoder text_encoder;
  Transformer transformer;
  VaeDecoder vae;
};

}  // namespace ernie_image
