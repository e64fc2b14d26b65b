// The flags of `ernie-image generate`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/enhance_flags.h"
#include "common/flags.h"
#include "common/lora.h"
#include "common/picture_flags.h"

namespace ernie_image {

struct GenerateFlags {
  LoadOptions load;
  /// What the flags say; everything left open is for the model to fill in.
  Request request;
  PictureFlags picture;
  EnhanceFlags enhance;
  LoraFlags lora;
  std::string prompt;  ///< the one without a flag, if `has_prompt`
  bool has_prompt = false;
  std::string prompt_file;
  std::string batch;
  std::string output;
  /// --overwrite or --no-overwrite; absent: a name that was asked for is replaced, others are not
  std::optional<bool> overwrite;
  std::string preview;
  std::string latents;
  std::string save_tensors;
  bool trace_blocks = false;
  int quality = 95;
  bool show = false;
  bool json = false;
  bool quiet = false;
};

/// Adds every flag to `app`; `flags` must outlive it.
void add_generate_flags(CLI::App& app, GenerateFlags& flags);

inline constexpr const char* kStandardOutput = "-";

/// Where the pictures of a run go.
struct GeneratePaths {
  std::vector<std::string> images;    // one of kStandardOutput is written there
  std::vector<std::string> previews;  // one an image, or empty
  bool give_way = false;  // names that nobody asked for: numbered where one is there already
};

/// Reads prompts from files and standard input into the request, checks all that can be checked
/// without the model, and names the output files. Throws Error.
GeneratePaths complete_flags(GenerateFlags& flags);

/// The same of a run with --batch, whose pictures `read_batch` names.
void complete_batch_flags(GenerateFlags& flags);

}  // namespace ernie_image
