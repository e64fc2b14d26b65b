// Adapters written as other programs name and scale them.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "adapters/adapter_match.h"

namespace ernie_image {

enum class AdapterNaming {
  diffusers,  ///< transformer.<m>.lora_A.weight, scales in the header's lora_adapter_metadata
  comfyui,    ///< diffusion_model.<m>.lora_A.weight and .alpha
  peft,       ///< a folder: base_model.model.<m>.lora_A.weight, scales in adapter_config.json
  kohya,      ///< lora_unet_<m with _>.lora_down.weight and .alpha
  original,   ///< <m>.lora_A.weight and .alpha
};

constexpr std::array<std::string_view, 5> names_of(AdapterNaming /*type*/) {
  return {"diffusers", "comfyui", "peft", "kohya", "original"};
}

/// One module in any naming: D = up down and its scale, or the parts of another kind.
struct WrittenModule {
  std::string name;
  std::vector<std::pair<AdapterPart, Tensor>> parts;  ///< without alpha
  double scale = 1;
  std::int64_t rank = 0;  ///< 0: whole factors, whose scale is 1
  bool is_low_rank = true;
};

/// A module as it was read, of a kind that can be written again. The scale of PEFT's LoKr with
/// whole factors goes into one of them.
WrittenModule written_module(const AdapterModule& module);

/// Writes the file, or PEFT's folder, which must not exist or be empty. Throws Error(unsupported)
/// for what a naming has no words for: LoKr, LoHa, differences and norms of columns where the
/// programs that read it refuse them; the text encoder's modules anywhere but with diffusers, or
/// alone with PEFT. Throws Error(io).
void write_adapter(const std::string& output, AdapterNaming naming,
                   const std::vector<WrittenModule>& transformer,
                   const std::vector<WrittenModule>& text_encoder);

}  // namespace ernie_image
