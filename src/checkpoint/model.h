// A loaded model folder: configs, mapped weights, the networks on one device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "ernie_image/pipeline.h"
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
  int default_side_px = 1024;
  int default_num_inference_steps = 8;
  double default_guidance_scale = 1.0;

  /// Throws Error if a config is missing or wrong, or if two components do not fit together.
  static ModelConfigs read(const ModelFolder& folder);
};

/// Memory that a tokenizer will take: some half more than its file (measured on the released one).
std::uint64_t tokenizer_memory_bytes(const ModelFolder& folder, const std::string& part);

/// The weights of one component, `<folder>/<part>/<stem>*.safetensors`.
struct ModelWeights {
  explicit ModelWeights(const ModelFolder& folder)
      : text_encoder(folder.component("text_encoder"), "model"),
        transformer(folder.component("transformer"), "diffusion_pytorch_model"),
        vae(folder.component("vae"), "diffusion_pytorch_model"),
        tokenizer_bytes(tokenizer_memory_bytes(folder, "tokenizer")) {}

  WeightFiles text_encoder;
  WeightFiles transformer;
  WeightFiles vae;
  std::uint64_t tokenizer_bytes;  ///< that the tokenizer takes in memory
};

struct Model {
  /// `quantization` is the transformer's. `check` may throw before weights are read or copied.
  Model(Backend& ops, const ModelFolder& model_folder, Quantization quantization,
        const std::function<void(const ModelConfigs&, const ModelWeights&)>& check = {});

  ModelFolder folder;
  ModelConfigs configs;
  ModelWeights weights;
  Tokenizer tokenizer;
  TextEncoder text_encoder;
  Transformer transformer;
  VaeDecoder vae;
};

}  // namespace ernie_image
