// What a tokenizer.json says, checked: everything that would change ids is either here or refused.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "io/json_reader.h"
#include "tokenizer/bpe.h"

namespace ernie_image {

/// A token that is cut out of the text before anything else happens.
struct AddedToken {
  std::int32_t id;
  std::string content;
  bool special;     ///< left out by decode(skip_special_tokens)
  bool normalized;  ///< searched for after those that are not, in what they leave
};

struct TokenizerFile {
  std::vector<std::string>
      tokens;  ///< by id, in the byte alphabet; empty where no token has the id
  std::vector<MergeRule> merges;
  bool ignore_merges = false;
  std::vector<AddedToken> added_tokens;
  std::string split_regex;
  std::vector<std::int32_t> prefix;  ///< what the post-processor puts before the text's ids
  std::vector<std::int32_t> suffix;  ///< and after them
};

/// Throws Error(not_found | io | corrupt_file | unsupported).
TokenizerFile read_tokenizer_file(const std::string& path);

/// One entry of "added_tokens". Without "content" or with a flag that is not supported it is an
/// Error.
AddedToken read_added_token(const JsonReader& entry, std::int64_t id);

/// Enters `token` into `file`. Throws Error(corrupt_file) when its id or content is taken
/// otherwise.
void add_token(TokenizerFile& file, const AddedToken& token, const std::string& where);

}  // namespace ernie_image
