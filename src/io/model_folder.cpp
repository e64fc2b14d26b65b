#include "io/model_folder.h"

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "ernie_image/error.h"
#include "io/file_view.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/model_cache.h"
#include "io/model_manifest.h"
#include "io/tensor_file.h"
#include "io/tensor_names.h"

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
  ModelFolder folder{path, name, false, origin_of(path, name), {}, path, {}, {}};
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
  throw Error(ErrorKind::not_found, message + "\nTo get the model, run `ernie-image pull " + id +
                                        "`, or\n" + download_advice(id));
}

[[noreturn]] void throw_no_model(const std::string& model) {
  throw Error(ErrorKind::not_found,
              model + ": no such folder or file, and not a hub id such as baidu/ERNIE-Image-Turbo");
}

/// A folder or hub id.
ModelFolder resolve_folder(const std::string& model) {
  if (directory_exists(model)) {
    const std::string path = without_trailing_slashes(model);
    return check_folder(path, own_name(path));
  }
  if (!is_hub_id(model)) throw_no_model(model);
  std::vector<std::string> looked_in;
  const auto cached = find_in_caches(model, looked_in);
  if (!cached) throw_not_cached(model, looked_in);
  return check_folder(*cached, model);
}

std::string from_environment() {
  const char* variable = std::getenv("ERNIE_IMAGE_MODEL");
  return variable == nullptr ? "" : variable;
}

/// What `resolve` throws about the model that the environment names says so: whoever reads it may
/// have forgotten that.
template <typename Resolve>
ModelFolder naming_environment(const Resolve& resolve) {
  try {
    return resolve();
  } catch (const Error& error) {
    throw Error(error.kind(),
                std::string("the environment variable ERNIE_IMAGE_MODEL: ") + error.what());
  }
}

// ---- models put together from files
// --------------------------------------------------------------

constexpr const char* kReleased[] = {"baidu/ERNIE-Image-Turbo", "baidu/ERNIE-Image"};

/// What has the parts that nobody named. `wanted`: what needs it, for messages.
ModelFolder resolve_base(const std::string& base, const std::string& wanted) {
  if (!base.empty()) return resolve_folder(base);
  if (const std::string model = from_environment(); !model.empty()) {
    if (!file_exists(model)) return naming_environment([&] { return resolve_folder(model); });
  }
  std::vector<std::string> looked_in, ids;
  std::string path;
  for (const char* id : kReleased) {
    const auto cached = find_in_caches(id, looked_in);
    if (!cached) continue;
    ids.emplace_back(id);
    path = *cached;
  }
  if (ids.size() == 1) return check_folder(path, ids[0]);
  if (ids.size() > 1) {
    throw Error(ErrorKind::invalid_argument,
                wanted + ": the caches hold both " + ids[0] + " and " + ids[1] +
                    ", from which the parts that it lacks could come; name one with --base");
  }
  std::string message =
      wanted +
      ": tokenizer, scheduler and the parts that are not named have to come from a model "
      "folder; name one with --base. None is in the caches:";
  for (const std::string& place : looked_in) message += "\n  " + place;
  throw Error(ErrorKind::not_found, message);
}

std::string& part_of(ModelParts& parts, Component component) {
  switch (component) {
    case Component::transformer:
      return parts.transformer;
    case Component::text_encoder:
      return parts.text_encoder;
    case Component::pe:
      return parts.pe;
    default:
      return parts.vae;
  }
}

std::vector<NamedComponent> components_of_file(const std::string& path) {
  std::vector<std::string> names;
  for (const std::string& part : gguf_parts(path)) {
    const std::vector<std::string> more = TensorFile::open(part)->names();
    names.insert(names.end(), more.begin(), more.end());
  }
  std::vector<NamedComponent> found = find_components(names);
  if (!found.empty()) return found;
  const std::string foreign = foreign_model(names);
  throw Error(ErrorKind::corrupt_file,
              path + ": holds " +
                  (!foreign.empty() ? foreign
                   : names.empty()  ? "no tensors"
                                    : std::to_string(names.size()) + " tensors such as " +
                                         printable(names.front())) +
                  ", expected a model of ERNIE-Image or a part of one");
}

/// The parts that a model file holds, where nothing else is named for them.
void add_parts_of_file(const std::string& path, ModelParts& parts) {
  const std::vector<NamedComponent> found = components_of_file(path);
  for (const NamedComponent& component : found) {
    std::string& part = part_of(parts, component.component);
    if (part.empty()) part = path;
  }
  if (!parts.transformer.empty()) return;
  std::string flag(component_name(found.front().component));
  if (const std::size_t at = flag.find('_'); at != std::string::npos) flag[at] = '-';
  throw Error(ErrorKind::invalid_argument,
              path + ": holds no transformer but the " +
                  std::string(component_name(found.front().component)) + "; name the file with --" +
                  flag + ", beside a --model");
}

/// "path" as it can be found from elsewhere too.
std::string absolute(const std::string& path) {
  std::error_code error;
  const fs::path result = fs::absolute(path, error);
  return error ? path : result.lexically_normal().string();
}

/// A file, a component's folder, or that folder within a model's.
std::string place_of(const std::string& part, const std::string& named) {
  if (file_exists(named)) return absolute(named);
  if (!directory_exists(named)) {
    throw Error(ErrorKind::not_found, named + ": no such file or folder, named as the " + part);
  }
  const std::string path = without_trailing_slashes(named);
  const std::string within = join_path(path, part);
  const bool whole_model = file_exists(join_path(path, kModelIndex)) && directory_exists(within);
  return absolute(whole_model ? within : path);
}

/// Tokenizers are read as folders.
std::string tokenizer_folder(const std::string& named) {
  std::string place = place_of("tokenizer", named);
  if (!file_exists(place)) return place;
  if (fs::path(place).filename() != "tokenizer.json") {
    throw Error(ErrorKind::invalid_argument,
                named + ": expected a file tokenizer.json, or the folder of one");
  }
  return fs::path(place).parent_path().string();
}

std::string lower(std::string text) {
  for (char& c : text)
    c = static_cast<char>(c == '_' ? '-' : std::tolower(static_cast<unsigned char>(c)));
  return text;
}

void note_replaced(ModelFolder& folder) {
  std::string replaced;
  for (const auto& [part, place] : folder.replaced) {
    replaced += (replaced.empty() ? "" : ", ") + part + " from " + place;
    if (part == "text_encoder" &&
        lower(fs::path(place).filename().string()).find("instruct") != std::string::npos) {
      folder.notes.push_back(place +
                             " looks like an instruction-tuned text encoder; ERNIE-Image was "
                             "trained with the base one, and pictures may follow prompts less");
    }
  }
  folder.notes.insert(folder.notes.begin(), replaced + "; everything else from " + folder.path);
}

void replace_parts(ModelFolder& folder, const ModelParts& parts) {
  const std::pair<const char*, const std::string*> named[] = {{"transformer", &parts.transformer},
                                                              {"text_encoder", &parts.text_encoder},
                                                              {"vae", &parts.vae},
                                                              {"pe", &parts.pe}};
  for (const auto& [part, place] : named) {
    if (!place->empty()) folder.replaced[part] = place_of(part, *place);
  }
  if (!parts.tokenizer.empty()) folder.replaced["tokenizer"] = tokenizer_folder(parts.tokenizer);
  if (!parts.pe.empty() && !directory_exists(folder.component("pe_tokenizer"))) {
    throw Error(ErrorKind::not_found, folder.path +
                                          ": has no pe_tokenizer, which the prompt enhancer " +
                                          parts.pe + " needs; name another --base");
  }
  folder.has_prompt_enhancer = folder.has_prompt_enhancer || !parts.pe.empty();
  folder.parts = parts;
  note_replaced(folder);
}

/// A file's own name says whose defaults it has, if it says anything.
void take_name(ModelFolder& folder, const std::string& file) {
  folder.source = absolute(file);
  folder.name = fs::path(file).stem().string();
  const std::string name = lower(folder.name);
  if (name.find("ernie-image") != std::string::npos) folder.origin = name;
  folder.parts.base = folder.path;
}

}  // namespace

std::string ModelFolder::component(const std::string& part) const {
  const auto found = replaced.find(part);
  return found != replaced.end() && directory_exists(found->second) ? found->second
                                                                    : join_path(path, part);
}

std::string ModelFolder::weights(const std::string& part) const {
  const auto found = replaced.find(part);
  return found != replaced.end() ? found->second : join_path(path, part);
}

bool ModelFolder::is_file(const std::string& part) const {
  const auto found = replaced.find(part);
  return found != replaced.end() && !directory_exists(found->second);
}

ModelFolder resolve_model(const std::string& model, const ModelParts& parts) {
  const ModelParts none{.base = parts.base,
                        .transformer = {},
                        .text_encoder = {},
                        .vae = {},
                        .pe = {},
                        .tokenizer = {}};
  if (model.empty() && parts == none && parts.base.empty()) {
    const std::string variable = from_environment();
    if (variable.empty()) return resolve_model(kEmbeddedModel);
    return naming_environment([&] { return resolve_model(variable); });
  }
  const bool is_file = !directory_exists(model) && file_exists(model);
  ModelParts all = parts;
  if (is_file) add_parts_of_file(model, all);
  if (!model.empty() && !is_file && !parts.base.empty()) {
    throw Error(ErrorKind::invalid_argument,
                "--base " + parts.base + " has the parts that a model file lacks, but " + model +
                    " is a folder or an id; leave one of the two out");
  }
  ModelFolder folder =
      is_file || model.empty()
          ? resolve_base(parts.base, is_file ? model : "a model put together from parts")
          : resolve_folder(model);
  folder.source = folder.path;
  if (is_file || parts != none) replace_parts(folder, is_file ? all : parts);
  folder.parts = parts;
  folder.parts.base.clear();
  if (is_file) take_name(folder, model);
  return folder;
}

}  // namespace ernie_image
