// What `inspect` says about a single file: what it holds, in which formats, and what it takes to
// use it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "core/weight.h"
#include "io/tensor_names.h"

namespace ernie_image {

/// How many weights a format has, and in how many bytes.
struct FormatCount {
  int tensors = 0;
  std::uint64_t bytes = 0;
};

struct PartReport {
  NamedComponent found;
  std::vector<Weight> tensors;
  std::map<std::string, FormatCount> formats;
  std::vector<std::string> assumed;  ///< what no config says
  std::vector<std::string> unused;
  std::string problem;  ///< missing or misshapen tensors; empty if none
};

struct FileReport {
  std::string path;
  std::string container;  ///< "GGUF" or "safetensors"
  std::uint64_t bytes = 0;
  std::size_t tensors = 0;
  std::map<std::string, std::string> notes;  ///< of the header, those that are short
  std::vector<PartReport> parts;
  std::vector<std::string> unknown;  ///< tensors of no part
  std::vector<std::string> missing;  ///< parts of a model that have to come from elsewhere
  std::string problem;               ///< why it is no model; empty if it is one
};

/// Throws Error for what cannot be read at all: damaged files, pickles, placeholders of downloads.
FileReport report_file(const std::string& path);

nlohmann::json to_json(const FileReport& report, bool with_tensors);
std::string to_text(const FileReport& report, bool with_tensors);

/// What `inspect` calls the format of a weight: "BF16", "Q4_K", "int8".
std::string format_of(const Weight& tensor);

}  // namespace ernie_image
