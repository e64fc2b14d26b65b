// `ernie-image convert`: a model, or parts of it, written as other programs read it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ernie_image/cancel.h"
#include "io/model_folder.h"
#include "io/tensor_names.h"
#include "quantize/quantize_model.h"

namespace ernie_image {

enum class ConvertTarget : std::uint8_t {
  diffusers,  ///< a model folder
  comfyui,    ///< diffusion_models/, text_encoders/ and vae/ of safetensors files
  gguf,       ///< a file for each part, as stable-diffusion.cpp and ComfyUI-GGUF take them
};

constexpr std::array<std::string_view, 3> names_of(ConvertTarget /*type*/) {
  return {"diffusers", "comfyui", "gguf"};
}

/// The types that weights can have there. diffusers: F32 F16 BF16. comfyui: also F8_E4M3 (one scale
/// a matrix) and I8 (one a row). gguf: those of gguf_encode.h.
std::vector<std::string_view> convert_types(ConvertTarget target);

struct ConvertRequest {
  ModelFolder source;
  ConvertTarget target = ConvertTarget::gguf;
  /// One of convert_types. Empty: Q8_0 for gguf; else each weight keeps its own, and what is
  /// quantised becomes BF16.
  std::string type;
  /// gguf: of transformer, text_encoder and pe. comfyui: of transformer, text_encoder and vae.
  /// Empty: the transformer; all three. diffusers takes all there are, and no choice.
  std::set<Component> components;
  /// A folder. For a single component a file, if it ends in .gguf or .safetensors.
  std::string output;
  int num_threads = 0;  ///< 0: every CPU the process may use
  bool force = false;   ///< overwrite
  std::function<void(const QuantizeProgress&)> on_progress;
  std::shared_ptr<const CancelToken> cancel;
};

struct ConvertedFile {
  std::string path;
  std::string component;  ///< empty for a config or the like
  std::uint64_t bytes = 0;
  std::map<std::string, int> types;  ///< of its tensors: "Q4_K" to their number
};

struct ConvertResult {
  std::vector<ConvertedFile> files;
  double seconds = 0;
};

/// Each file appears whole or not at all, a folder's model_index.json last. Rows that are no whole
/// blocks of the type get the widest type that they are: Q8_0, else the plain one. Throws
/// Error(invalid_argument) for what the request contradicts, for outputs that exist and for weights
/// that are not finite or do not fit the type; Error(corrupt_file | unsupported | not_found) for
/// the model, Error(io | cancelled).
ConvertResult convert_model(const ConvertRequest& request);

}  // namespace ernie_image
