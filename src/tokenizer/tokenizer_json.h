// Reading tokenizer.json: its two huge parts straight into arrays, the rest as a JSON document.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace ernie_image {

struct TokenizerJson {
  nlohmann::json document;  ///< an object; without model.vocab and model.merges
  std::vector<std::pair<std::string, std::int64_t>> vocab;  ///< model.vocab, in file order
  std::vector<std::pair<std::string, std::string>> merges;  ///< model.merges, best rank first
};

/// Throws Error(not_found | io | corrupt_file): not JSON, not an object, beyond the limits on
/// bytes, depth and entries, a vocabulary entry that is not an integer, a merge that is not two
/// strings
/// (`["a", "b"]` or `"a b"`).
TokenizerJson read_tokenizer_json(const std::string& path);

}  // namespace ernie_image
