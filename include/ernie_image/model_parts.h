// A model put together from several files.
#pragma once

#include <string>

namespace ernie_image {

/// Parts of a model that lie elsewhere than in its folder: each a file (safetensors, GGUF) or a
/// folder, in any of the formats of docs/formats.md; empty: as the model has it.
struct ModelParts {
  /// What has the parts that a model file lacks: a folder or hub id. Empty: ERNIE_IMAGE_MODEL, else
  /// a released model, if the local caches hold one and not several.
  std::string base;
  std::string transformer;
  std::string text_encoder;
  std::string vae;
  std::string pe;         ///< the prompt enhancer
  std::string tokenizer;  ///< tokenizer.json or its folder

  bool operator==(const ModelParts&) const = default;
};

}  // namespace ernie_image
