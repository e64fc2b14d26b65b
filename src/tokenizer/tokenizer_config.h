// What a tokenizer_config.json adds to a tokenizer.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tokenizer/tokenizer_file.h"

namespace ernie_image {

struct TokenizerConfig {
  std::optional<std::int32_t> bos_id;
  std::optional<std::int64_t> model_max_length;
};

/// Reads the configuration and enters what it changes (further added tokens, add_bos_token) into
/// `file`. Throws Error(not_found | io | corrupt_file | unsupported).
TokenizerConfig read_tokenizer_config(const std::string& path, TokenizerFile& file);

}  // namespace ernie_image
