// What the subcommands of `ernie-image lora` do.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "adapters/adapter_writing.h"
#include "adapters/low_rank.h"
#include "backend/backend.h"
#include "checkpoint/model.h"

namespace ernie_image {

/// A model whose weights are mapped, and what adapters may change of it.
struct LoraModel {
  explicit LoraModel(const std::string& name, const ModelParts& parts = {});

  std::unique_ptr<Backend> backend;
  Model model;
  AdapterTargets targets;
};

/// How many modules, keys, ranks and types: an adapter in a few lines.
nlohmann::json lora_info(const AdapterFile& file, const AdapterMatch& match);

/// Every module as LoRA of at most `rank`, with how much of each is kept. LoKr, LoHa and
/// differences become LoRA.
struct ResizedLora {
  std::vector<WrittenModule> transformer;
  std::vector<WrittenModule> text_encoder;
  double least_kept = 1;  ///< share of the squared length, of the module that loses most
};
ResizedLora resize_lora(const AdapterMatch& match, std::int64_t rank);

/// The difference of two models of the same shapes, layer by layer, as LoRA of that rank. Throws
/// Error(invalid_argument) if they differ in shapes or in nothing at all.
ResizedLora extract_lora(LoraModel& base, LoraModel& tuned, std::int64_t rank);

}  // namespace ernie_image
