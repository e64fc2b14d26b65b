// Finding a model on this machine and naming its parts. Never touches the network.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ernie_image/model_parts.h"

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

  /// Parts that lie elsewhere: "transformer" and so on to a folder or file.
  std::map<std::string, std::string> replaced;
  std::string source;              ///< what resolve_model finds this by: a model file, else `path`
  ModelParts parts;                ///< likewise
  std::vector<std::string> notes;  ///< for people

  /// Where the configs of a part lie: path + "/" + part, or the folder in its place.
  std::string component(const std::string& part) const;
  /// Where its weights lie: the same, or the file in its place.
  std::string weights(const std::string& part) const;
  /// Whether its weights are a file that stands in place of a folder.
  bool is_file(const std::string& part) const;
};

/// `model`: a folder, or "owner/name" looked up in the Hugging Face cache (HF_HUB_CACHE, else
/// HF_HOME/hub, else
/// ~/.cache/huggingface/hub: models--owner--name/{refs/main,snapshots}) and the ModelScope cache
/// (MODELSCOPE_CACHE, else ~/.cache/modelscope: models/owner--name/snapshots/{master, or the only
/// one}, and of older versions hub/models/owner/name, hub/owner/name, models/owner/name, with "___"
/// for "."). Empty: the environment's
/// ERNIE_IMAGE_MODEL, else the embedded model. Throws Error(not_found) that lists where it looked,
/// Error(corrupt_file) for a folder without model_index.json, with another pipeline's _class_name,
/// or with a missing component.
///
/// A file stands for the parts that are in it, and `parts` for those that they name; the other
/// parts are those of `parts.base` or of what stands in its place. Throws Error(not_found) that
/// says which parts are missing if there is none.
ModelFolder resolve_model(const std::string& model, const ModelParts& parts = {});

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
