// The flags of `ernie-image generate`.
#pragma once

#include <string>
#include <vector>

#include "common/enhance_flags.h"
#include "common/flags.h"
#include "common/lora.h"
#include "common/picture_input.h"

namespace ernie_image {

struct GenerateFlags {
  LoadOptions load;
  /// What the flags say; everything left open is for the model to fill in.
  Request request;
  PictureFlags picture;
  EnhanceFlags enhance;
  LoraFlags lora;
  std::string prompt_file;
  std::string output;
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

/// Where the pictures of a run go.
struct GeneratePaths {
  std::vector<std::string> images;
  std::vector<std::string> previews;  // one an image, or empty
};

/// Reads the prompt file into the request, checks all that can be checked without the model, and
/// names the output files. Throws Error.
GeneratePaths complete_flags(GenerateFlags& flags);

}  // namespace ernie_image
