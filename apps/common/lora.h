// Adapters as users name them: --lora FILE:0.8, <lora:name:0.8> in a prompt, names in a folder.
#pragma once

#include <string>
#include <vector>

#include "common/flags.h"
#include "ernie_image/pipeline.h"

namespace ernie_image {

/// One of those in the folder of --lora-dir.
struct NamedLora {
  std::string name;
  double strength = 1;
};

/// Takes every <lora:name> and <lora:name:strength> out of the prompt, with the space that would be
/// left double or at an end. Throws Error(invalid_argument) for one without a name or with a
/// strength that is none.
std::vector<NamedLora> take_lora_tags(std::string& prompt);

/// Names of the adapters directly inside: safetensors files without their extension, and folders
/// that hold one. Throws Error(not_found) for a folder that is not there.
std::vector<std::string> list_loras(const std::string& directory);

/// The path of that name inside `directory`. A name is never a path: throws Error(not_found) for
/// anything that `list_loras` does not say.
std::string find_lora(const std::string& directory, const std::string& name);

/// Those of `directory`, for the prompt of that index or all (-1). Throws as above.
std::vector<Adapter> adapters_of(const std::string& directory, const std::vector<NamedLora>& loras,
                                 int prompt = -1);

struct LoraFlags {
  std::vector<std::string> loras;  ///< FILE or FOLDER, and :STRENGTH
  std::string directory;           ///< of names in prompts; empty: none
};

/// --lora and --lora-dir
void add_lora_flags(CLI::App& app, LoraFlags& flags);

/// --lora-dir of programs that are asked by others
void add_lora_dir_flag(CLI::App& app, std::string& directory);

/// "FILE", "FILE:0.8". A colon followed by a number is taken for a strength unless a file has that
/// very name.
Adapter parse_lora(const std::string& text);

/// Adds the adapters of the flags and of the prompts, which lose their tags, to the request. Throws
/// Error(invalid_argument), Error(not_found).
void add_loras(const LoraFlags& flags, Request& request);

}  // namespace ernie_image
