// An adapter's keys sorted out for one model.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "adapters/adapter_file.h"
#include "adapters/adapter_module.h"
#include "adapters/module_table.h"

namespace ernie_image {

/// What of a model adapters may change.
struct AdapterTargets {
  ModuleTable transformer;
  ModuleTable text_encoder;
};

struct AdapterMatch {
  std::map<std::string, AdapterModule> transformer;  ///< by module
  std::map<std::string, AdapterModule> text_encoder;
  std::size_t keys = 0;
  std::vector<std::string> unmatched;  ///< keys that name nothing in the model

  std::size_t used_keys() const { return keys - unmatched.size(); }
};

/// Throws Error(corrupt_file) if no key at all matches, if two keys say the same, or for a module
/// that is not complete, misshapen or not finite; Error(unsupported).
AdapterMatch match_adapter(const AdapterFile& file, const AdapterTargets& targets);

/// "lora_A, alpha and 3 more"; at most `most` are named.
std::string listed_keys(const std::vector<std::string>& keys, std::size_t most);

}  // namespace ernie_image
