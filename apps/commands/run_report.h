// What `generate` says about a finished run.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "commands/generate_flags.h"
#include "memory/memory_sampler.h"

namespace ernie_image {

struct RunReport {
  const GenerateFlags& flags;
  const GeneratePaths& paths;
  const ModelInfo& info;
  const Request& request;  ///< with every default filled in, and the prompts that were drawn
  const std::vector<std::string>& original_prompts;  ///< before enhancing; empty if it was not done
  const Result& result;
  double total_seconds;  ///< from before loading until the files were written
  PeakMemory peak_memory;
  std::vector<StageMemory> enhancing;  ///< a stage for each prompt that was enhanced here
};

nlohmann::json report_json(const RunReport& report);

/// A line an image and one of seconds and memory.
std::string report_text(const RunReport& report);

}  // namespace ernie_image
