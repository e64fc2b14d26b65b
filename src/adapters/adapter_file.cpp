#include "adapters/adapter_file.h"

#include "ernie_image/error.h"
#include "io/file_view.h"
#include "io/json.h"
#include "io/sha256.h"

namespace ernie_image {
namespace {

constexpr std::string_view kExtension = ".safetensors";
constexpr const char* kPeftWeights = "adapter_model.safetensors";
constexpr const char* kPeftConfig = "adapter_config.json";
constexpr const char* kDiffusersWeights = "pytorch_lora_weights.safetensors";
constexpr const char* kMetadataKey = "lora_adapter_metadata";

std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string stem(const std::string& path) {
  const std::string name = last_part(path);
  return name.ends_with(kExtension) ? name.substr(0, name.size() - kExtension.size()) : name;
}

[[noreturn]] void refuse_pickle(const std::string& path) {
  throw Error(ErrorKind::unsupported,
              path +
                  ": a PyTorch file (a pickle), which could run any program and is never opened; "
                  "convert it to safetensors");
}

/// Both forms of what torch.save writes.
void refuse_pickles(const FileView& file) {
  const std::string_view text = file.text();
  const bool is_zip = text.starts_with("PK\x03\x04");
  const bool is_bare = text.size() > 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5 &&
                       !text.substr(0, 9).ends_with('{');
  if (is_zip || is_bare) refuse_pickle(file.path);
}

std::string only_weights(const std::string& folder) {
  std::vector<std::string> found;
  for (const std::string& name : list_files(folder)) {
    if (name.ends_with(kExtension)) found.push_back(name);
    if (name == "adapter_model.bin") refuse_pickle(join_path(folder, name));
  }
  if (found.size() == 1) return found.front();
  throw Error(ErrorKind::not_found,
              folder + ": " + std::to_string(found.size()) +
                  " safetensors files, expected adapter_model.safetensors with "
                  "adapter_config.json, pytorch_lora_weights.safetensors, or one of any name; name "
                  "the file itself");
}

}  // namespace

AdapterPath resolve_adapter(const std::string& given) {
  const std::string path = without_slashes(given);
  AdapterPath found;
  if (directory_exists(path)) {
    const auto has = [&](const char* name) { return file_exists(join_path(path, name)); };
    found.name = last_part(path);
    found.weights = join_path(path, has(kPeftWeights)        ? kPeftWeights
                                    : has(kDiffusersWeights) ? kDiffusersWeights
                                                             : only_weights(path));
  } else {
    if (!file_exists(path)) {
      throw Error(ErrorKind::not_found, "adapter " + path + ": there is no such file or folder");
    }
    found.name = stem(path);
    found.weights = path;
  }
  if (last_part(found.weights) == kPeftWeights) {
    const std::size_t folder = found.weights.size() - std::string_view(kPeftWeights).size();
    const std::string config = found.weights.substr(0, folder) + kPeftConfig;
    if (file_exists(config)) found.config = config;
  }
  return found;
}

AdapterFile AdapterFile::open(const std::string& given) {
  AdapterPath path = resolve_adapter(given);
  refuse_pickles(open_file(path.weights));
  AdapterFile file(path, SafetensorsFile::open(path.weights));
  if (!path.config.empty()) {
    file.folder_config_ = AdapterConfig::parse(open_file(path.config).text(), path.config);
  }
  const auto metadata = file.tensors_.metadata().find(kMetadataKey);
  if (metadata != file.tensors_.metadata().end()) {
    const std::string where = path.weights + ": " + kMetadataKey;
    for (const char* component : {"transformer", "text_encoder"}) {
      auto config = AdapterConfig::parse_metadata(metadata->second, component, where);
      if (config) file.header_configs_.emplace(component, *std::move(config));
    }
  }
  return file;
}

const AdapterConfig* AdapterFile::config(const std::string& component) const {
  if (folder_config_) return &*folder_config_;
  const auto found = header_configs_.find(component);
  return found == header_configs_.end() ? nullptr : &found->second;
}

std::string AdapterFile::content_hash() const {
  Sha256 hash;
  hash.update(tensors_.file().text());
  if (!path_.config.empty()) hash.update(open_file(path_.config).text());
  return hash.hex();
}

}  // namespace ernie_image
