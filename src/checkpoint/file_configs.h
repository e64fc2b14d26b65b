// Configs of parts that lie in a single file: sizes follow from the shapes of its tensors, the rest
// is that of a config.json beside it or of the base folder.
#pragma once

#include <string>
#include <vector>

#include "io/json_reader.h"
#include "io/model_folder.h"
#include "io/weight_files.h"

namespace ernie_image {

/// A config, and what of it is not in the config that it began with, for people.
struct FileConfig {
  JsonReader reader;
  std::vector<std::string> notes;
};

/// transformer/config.json, vae/config.json, or the language models' (text_encoder, pe). Of a part
/// that is a folder with a config.json, that; else with sizes of the weights. Throws
/// Error(corrupt_file).
FileConfig part_config(const ModelFolder& folder, Component component);

}  // namespace ernie_image
