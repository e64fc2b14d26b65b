// A tokenizer.json small enough to see through, to be changed by each test.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "io/test_files.h"
#include "tokenizer/tokenizer.h"

namespace ernie_image::test {

/// Ids 0 "<s>" and 1 "</s>" (special), 2 to 257 the bytes, then "ab", "abc", "bc" and " a" with the
/// merges a+b, b+c, ab+c, " "+a. Splits after white space; adds nothing.
nlohmann::json small_tokenizer();

/// Id of a byte in it.
constexpr std::int32_t byte_id(char byte) { return 2 + static_cast<unsigned char>(byte); }
constexpr std::int32_t kAb = 258;
constexpr std::int32_t kAbc = 259;
constexpr std::int32_t kBc = 260;
constexpr std::int32_t kSpaceA = 261;

/// {"id": id, "content": content} with every flag off except special.
nlohmann::json added_token(int id, const std::string& content, bool special);

/// A post-processor that puts "<s>" in front.
nlohmann::json bos_template();

/// Files in a folder of their own.
class TokenizerFolder : public TemporaryFolder {
 protected:
  Tokenizer open(const nlohmann::json& tokenizer) const {
    return Tokenizer::open_file(write("tokenizer.json", tokenizer.dump()));
  }
  Tokenizer open(const nlohmann::json& tokenizer, const nlohmann::json& config) const {
    write("tokenizer.json", tokenizer.dump());
    write("tokenizer_config.json", config.dump());
    return Tokenizer::open(folder_);
  }
};

}  // namespace ernie_image::test
