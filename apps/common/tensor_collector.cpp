#include "common/tensor_collector.h"

#include <algorithm>
#include <array>

namespace ernie_image {
namespace {

/// "step3.latents", "step3.dit_output"
bool is_step_tensor(std::string_view name) {
  return name.starts_with("step") && (name.ends_with(".latents") || name.ends_with(".dit_output"));
}

bool is_stage_tensor(std::string_view name) {
  constexpr std::array<std::string_view, 10> kNames = {
      "latents.picture", "dit.text_bth",     "dit.text_lens",       "latents.initial",
      "latents.final",   "scheduler.sigmas", "scheduler.timesteps", "vae.input",
      "vae.output",      "image.uint8"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() || is_step_tensor(name) ||
         name.starts_with("token_ids.") || name.starts_with("text_hidden.");
}

bool is_block_tensor(std::string_view name) {
  return name.starts_with("dit.") || name.starts_with("vae.") || name.starts_with("vae_encoder.");
}

}  // namespace

bool TensorCollector::wants(std::string_view name) const {
  return (is_stage_tensor(name) || (blocks_ && is_block_tensor(name))) && !has(name);
}

void TensorCollector::record(const std::string& name, const Tensor& host) {
  if (wants(name)) tensors_.emplace_back(name, host);
}

bool TensorCollector::has(std::string_view name) const {
  return std::any_of(tensors_.begin(), tensors_.end(),
                     [&](const auto& entry) { return entry.first == name; });
}

}  // namespace ernie_image
