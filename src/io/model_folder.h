// Finding a model on this machine and naming its parts. Never touches the network.
#pragma once

#include <string>
#include <vector>

namespace ernie_image {

inline constexpr const char* kEmbeddedModel = "embedded:emoji-tiny";

/// The file that says which pipeline a folder holds.
inline constexpr const char* kModelIndex = "model_index.json";

/// A folder in the diffusers layout.
struct ModelFolder {
  std::string path;  ///< "…/snapshots/abc" or kEmbeddedModel
  std::string name;  ///< the hub id if that is how it was found, else the folder's own name
  bool has_prompt_enhancer =
      false;  ///< both pe and pe_tokenizer are listed in model_index.json (not null) and present

  /// The name of the model that it was quantised from, whose defaults it has; else `name`, or
  /// kEmbeddedModel.
  std::string origin;

  std::string component(const std::string& part) const;  ///< path + "/" + part
};

/// `model`: a folder, or "owner/name" looked up in the Hugging Face cache (HF_HUB_CACHE, else
/// HF_HOME/hub, else
/// ~/.cache/huggingface/hub: models--owner--name/{refs/main,snapshots}) and the ModelScope cache
/// (MODELSCOPE_CACHE, else ~/.cache/modelscope: hub/models/owner/name, hub/owner/name,
/// models/owner/name, with ModelScope's "." -> "___" escaping). Empty: the environment's
/// ERNIE_IMAGE_MODEL, else the embedded model. Throws Error(not_found) that lists where it looked,
/// Error(corrupt_file) for a folder without model_index.json, with another pipeline's _class_name,
/// or with a missing component.
ModelFolder resolve_model(const std::string& model);

/// SHA-256, hex, over config files and weight headers of all that draws, with their relative names:
/// two folders with the same content hash hold the same architecture, tensors' names, types, shapes
/// and sizes. The prompt enhancer is no part of it: its text is kept with a picture.
std::string content_hash(const ModelFolder& folder);

/// The same over the prompt enhancer, with the beginning of every tensor's values: two folders with
/// the same hash write the same text. Call it for a folder that has one.
std::string enhancer_hash(const ModelFolder& folder);

/// The same over everything, with the beginning of every tensor's values: tells whether a folder is
/// still what it was.
std::string sampled_hash(const ModelFolder& folder);

}  // namespace ernie_image
