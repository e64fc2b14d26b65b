#include "io/model_folder.h"

#include <cstdlib>
#include <filesystem>

#include "ernie_image/error.h"
#include "io/file_view.h"
#include "io/json.h"
#include "io/model_cache.h"
#include "io/model_manifest.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPipelineClass = "ErnieImagePipeline";
constexpr const char* kRequiredParts[] = {"scheduler", "text_encoder", "tokenizer", "transformer",
                                          "vae"};

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

/// "emoji-tiny" of "embedded:emoji-tiny"; the folder's own name for ".", "..", "a/b/".
std::string own_name(const std::string& path) {
  if (path.starts_with("embedded:")) return path.substr(path.find(':') + 1);
  std::error_code error;
  const fs::path resolved = fs::canonical(path, error);
  const std::string name = (error ? fs::path(path) : resolved).filename().string();
  return name.empty() ? path : name;
}

nlohmann::json read_model_index(const std::string& folder) {
  const std::string path = join_path(folder, kModelIndex);
  if (!file_exists(path)) {
    throw Error(ErrorKind::corrupt_file,
                folder +
                    ": has no model_index.json, so it is no model folder in the diffusers layout; "
                    "give the folder that holds model_index.json, transformer, text_encoder, "
                    "tokenizer, vae and scheduler, or finish its download");
  }
  nlohmann::json index = parse_json(open_file(path));
  const auto name = index.is_object() ? index.find("_class_name") : index.end();
  if (name == index.end() || *name != kPipelineClass) {
    throw Error(ErrorKind::corrupt_file,
                path + ": _class_name is " +
                    (name == index.end() ? "missing" : printable_json(*name)) + ", expected \"" +
                    std::string(kPipelineClass) +
                    "\"; only ERNIE-Image and ERNIE-Image-Turbo models can be run");
  }
  return index;
}

/// Listed as ["library", "Class"]; an optional component that was left out is [null, null].
bool is_listed(const nlohmann::json& index, const std::string& part) {
  const auto entry = index.find(part);
  return entry != index.end() && entry->is_array() && entry->size() == 2 &&
         (*entry)[0].is_string() && (*entry)[1].is_string();
}

/// A quantised folder may have any name, and some defaults go by the name.
std::string origin_of(const std::string& path, const std::string& name) {
  if (path == kEmbeddedModel) return path;
  const auto manifest = ModelManifest::read(path);
  return manifest ? manifest->source_name : name;
}

ModelFolder check_folder(const std::string& path, const std::string& name) {
  const nlohmann::json index = read_model_index(path);
  ModelFolder folder{path, name, false, origin_of(path, name)};
  const auto is_present = [&](const std::string& part) {
    return is_listed(index, part) && directory_exists(folder.component(part));
  };
  std::string missing;
  for (const char* part : kRequiredParts) {
    if (is_present(part)) continue;
    missing += (missing.empty() ? "" : ", ") + std::string(part);
    if (!is_listed(index, part)) missing += " (not listed in model_index.json)";
  }
  if (!missing.empty()) {
    throw Error(ErrorKind::corrupt_file,
                path + ": missing parts of the model: " + missing + "; finish its download");
  }
  folder.has_prompt_enhancer = is_present("pe") && is_present("pe_tokenizer");
  return folder;
}

[[noreturn]] void throw_not_cached(const std::string& id,
                                   const std::vector<std::string>& looked_in) {
  std::string message = id + ": no folder of that name, and the model is not in the caches:";
  for (const std::string& place : looked_in) message += "\n  " + place;
  throw Error(ErrorKind::not_found,
              message +
                  "\nThis program never downloads. To get the model, run one of\n"
                  "  huggingface-cli download " +
                  id + "\n  modelscope download --model " + id);
}

[[noreturn]] void throw_no_model(const std::string& model) {
  if (file_exists(model)) {
    throw Error(ErrorKind::invalid_argument,
                model +
                    ": is a file, expected the folder of a model (the one with "
                    "model_index.json)");
  }
  throw Error(ErrorKind::not_found,
              model + ": no such folder, and not a hub id such as baidu/ERNIE-Image-Turbo");
}

}  // namespace

std::string ModelFolder::component(const std::string& part) const { return join_path(path, part); }

ModelFolder resolve_model(const std::string& model) {
  if (model.empty()) {
    const char* variable = std::getenv("ERNIE_IMAGE_MODEL");
    const bool is_set = variable != nullptr && *variable != '\0';
    return resolve_model(is_set ? variable : kEmbeddedModel);
  }
  if (directory_exists(model)) {
    const std::string path = without_trailing_slashes(model);
    return check_folder(path, own_name(path));
  }
  if (file_exists(model) || !is_hub_id(model)) throw_no_model(model);
  std::vector<std::string> looked_in;
  const auto cached = find_in_caches(model, looked_in);
  if (!cached) throw_not_cached(model, looked_in);
  return check_folder(*cached, model);
}

}  // namespace ernie_image
