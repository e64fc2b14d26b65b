#include "common/lora.h"

#include <algorithm>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "adapters/adapter_file.h"
#include "common/exit_code.h"
#include "common/parse_values.h"
#include "io/file_view.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr std::string_view kTag = "<lora:";
constexpr std::string_view kExtension = ".safetensors";

double parse_strength(const std::string& where, std::string_view text) {
  return parse_number(where, text, -kMaxAdapterStrength, kMaxAdapterStrength);
}

NamedLora parse_tag(std::string_view content) {
  const std::string where = "the prompt's " + std::string(kTag) + std::string(content) + ">";
  const std::size_t colon = content.find(':');
  NamedLora lora{std::string(content.substr(0, colon)), 1};
  if (lora.name.empty()) {
    throw Error(ErrorKind::invalid_argument, where + " names nothing; expected <lora:name:0.8>");
  }
  if (colon != std::string_view::npos)
    lora.strength = parse_strength(where, content.substr(colon + 1));
  return lora;
}

/// Removes text[begin, end), and one of the spaces around it if two would meet or one is at an end.
void cut(std::string& text, std::size_t begin, std::size_t end) {
  const bool space_before = begin == 0 || text[begin - 1] == ' ';
  const bool space_after = end == text.size() || text[end] == ' ';
  if (space_before && space_after) {
    if (end < text.size()) {
      ++end;
    } else if (begin > 0) {
      --begin;
    }
  }
  text.erase(begin, end - begin);
}

bool is_adapter_folder(const std::string& path) {
  try {
    resolve_adapter(path);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::vector<NamedLora> take_lora_tags(std::string& prompt) {
  std::vector<NamedLora> loras;
  std::size_t begin = 0;
  while ((begin = prompt.find(kTag, begin)) != std::string::npos) {
    const std::size_t close = prompt.find('>', begin);
    if (close == std::string::npos) break;
    const std::size_t name = begin + kTag.size();
    loras.push_back(parse_tag(std::string_view(prompt).substr(name, close - name)));
    cut(prompt, begin, close + 1);
    begin = begin > 0 ? begin - 1 : 0;
    if (loras.size() > std::size_t{kMaxAdapters}) {
      throw Error(ErrorKind::invalid_argument,
                  "the prompt names more than " + std::to_string(kMaxAdapters) + " LoRAs");
    }
  }
  return loras;
}

std::vector<std::string> list_loras(const std::string& directory) {
  if (!directory_exists(directory)) {
    throw Error(ErrorKind::not_found, "--lora-dir: there is no folder " + directory);
  }
  std::vector<std::string> names;
  for (const std::string& name : list_files(directory)) {
    if (name.ends_with(kExtension) && name.size() > kExtension.size())
      names.push_back(name.substr(0, name.size() - kExtension.size()));
  }
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.is_directory(error) && is_adapter_folder(entry.path().string()))
      names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

std::string find_lora(const std::string& directory, const std::string& name) {
  const std::vector<std::string> names = list_loras(directory);
  // With the extension it is meant as well.
  const std::string stem =
      name.ends_with(kExtension) ? name.substr(0, name.size() - kExtension.size()) : name;
  if (!std::ranges::binary_search(names, stem)) {
    throw Error(ErrorKind::not_found, "there is no LoRA " + printable(name) +
                                          " in the folder of --lora-dir, which has " +
                                          std::to_string(names.size()));
  }
  const std::string file = join_path(directory, stem + std::string(kExtension));
  return file_exists(file) ? file : join_path(directory, stem);
}

std::vector<Adapter> adapters_of(const std::string& directory, const std::vector<NamedLora>& loras,
                                 int prompt) {
  std::vector<Adapter> adapters;
  for (const NamedLora& lora : loras)
    adapters.push_back({find_lora(directory, lora.name), lora.strength, prompt});
  return adapters;
}

void add_lora_dir_flag(CLI::App& app, std::string& directory) {
  app.add_option("--lora-dir", directory,
                 "folder of the LoRAs that prompts name with <lora:name:0.8>")
      ->type_name("FOLDER");
}

void add_lora_flags(CLI::App& app, LoraFlags& flags) {
  app.add_option("--lora", flags.loras,
                 "change the model by a LoRA (LoKr, LoHa, DoRA...): a safetensors file or a PEFT "
                 "folder, and how much; default 1; repeat it for more")
      ->allow_extra_args(false)
      ->type_name("FILE[:STRENGTH]");
  add_lora_dir_flag(app, flags.directory);
}

Adapter parse_lora(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || file_exists(text) || directory_exists(text))
    return {text, 1.0, -1};
  return {text.substr(0, colon), parse_strength("--lora " + text, text.substr(colon + 1)), -1};
}

void add_loras(const LoraFlags& flags, Request& request) {
  for (const std::string& text : flags.loras) {
    request.adapters.push_back(parse_lora(text));
    naming_flag("--lora", [&] { return AdapterFile::open(request.adapters.back().path); });
  }
  for (std::size_t i = 0; i < request.prompts.size(); ++i) {
    const std::vector<NamedLora> named = take_lora_tags(request.prompts[i]);
    if (named.empty()) continue;
    if (flags.directory.empty()) {
      usage_error("the prompt names <lora:" + named.front().name +
                  ">; say with --lora-dir in which folder it is");
    }
    const int prompt = request.prompts.size() == 1 ? -1 : static_cast<int>(i);
    const std::vector<Adapter> adapters = adapters_of(flags.directory, named, prompt);
    request.adapters.insert(request.adapters.end(), adapters.begin(), adapters.end());
  }
}

}  // namespace ernie_image
