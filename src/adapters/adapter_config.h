// Where a scale stands that is in no tensor: PEFT's adapter_config.json, and what diffusers copies
// of it into the header of a file.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "adapters/name_pattern.h"

namespace ernie_image {

/// The training configuration of one component's adapter.
class AdapterConfig {
 public:
  /// The text of an adapter_config.json. Throws Error(corrupt_file), Error(unsupported) for a kind
  /// of adapter that is none of LoRA, LoHa and LoKr; `where` is for messages.
  static AdapterConfig parse(std::string_view json, const std::string& where);

  /// The same keys behind "<component>." in diffusers' header entry `lora_adapter_metadata`;
  /// nothing if it has none for the component.
  static std::optional<AdapterConfig> parse_metadata(std::string_view json,
                                                     std::string_view component,
                                                     const std::string& where);

  /// "LORA", "LOHA" or "LOKR"
  const std::string& kind() const { return kind_; }
  double alpha(std::string_view module) const { return value(alphas_, module, alpha_); }
  /// The configured one; that of LoRA's tensors is what counts.
  double rank(std::string_view module) const { return value(ranks_, module, rank_); }
  /// alpha / sqrt(r) instead of alpha / r
  bool uses_rslora() const { return uses_rslora_; }

 private:
  using Values = std::vector<std::pair<NamePattern, double>>;  // the first that matches counts
  struct Reader;
  static double value(const Values& values, std::string_view module, double otherwise);

  std::string kind_ = "LORA";
  double alpha_ = 8;  // PEFT's default
  double rank_ = 8;
  bool uses_rslora_ = false;
  Values alphas_;
  Values ranks_;
};

}  // namespace ernie_image
