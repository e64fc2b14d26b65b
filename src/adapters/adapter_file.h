// An adapter as it lies on disk: one safetensors file, with PEFT's configuration beside it or in
// its header. Nothing of it is read but the header.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "adapters/adapter_config.h"
#include "io/safetensors.h"

namespace ernie_image {

/// The file or folder that was named, resolved.
struct AdapterPath {
  std::string weights;
  std::string config;  ///< empty: none
  std::string name;    ///< the file's name without extension, or the folder's
};

/// `path`: a safetensors file, or a folder with adapter_model.safetensors and adapter_config.json
/// (PEFT), pytorch_lora_weights.safetensors (diffusers), or one safetensors file of any name.
/// Throws Error(not_found), Error(unsupported) for what may be a pickle.
AdapterPath resolve_adapter(const std::string& path);

class AdapterFile {
 public:
  /// Throws Error as resolve_adapter, SafetensorsFile::open and AdapterConfig::parse do.
  static AdapterFile open(const std::string& path);

  const AdapterPath& path() const { return path_; }
  const SafetensorsFile& tensors() const { return tensors_; }
  /// Of "transformer" or "text_encoder"; null for none.
  const AdapterConfig* config(const std::string& component) const;
  /// Whether the configuration is PEFT's own file.
  bool is_peft() const { return folder_config_.has_value(); }

  /// SHA-256, hex, of the file; with a configuration file that of both, one after the other. Reads
  /// all of it.
  std::string content_hash() const;

 private:
  AdapterFile(AdapterPath path, SafetensorsFile tensors)
      : path_(std::move(path)), tensors_(std::move(tensors)) {}

  AdapterPath path_;
  SafetensorsFile tensors_;
  std::optional<AdapterConfig> folder_config_;
  std::map<std::string, AdapterConfig> header_configs_;  // by component
};

}  // namespace ernie_image
