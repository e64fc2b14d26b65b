// What a run holds in memory.
#pragma once

#include <cstdint>
#include <string>

namespace ernie_image {

/// What the process held in memory during one stage, planned and measured.
struct StageMemory {
  std::string stage;  ///< "pe", "text_encoder", "transformer", "vae"
  std::uint64_t predicted_bytes = 0;
  std::uint64_t measured_bytes = 0;
  int layers = 0;
  int streamed_layers = 0;  ///< read from the file in every step
};

}  // namespace ernie_image
