// Tokens by id and ids by token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

class Vocabulary {
 public:
  static constexpr std::int32_t kNone = -1;

  /// `tokens` by id, empty where no token has the id. Throws Error(corrupt_file), beginning with
  /// `where`, for a token with two ids.
  Vocabulary(std::vector<std::string> tokens, const std::string& where);

  /// kNone if there is no such token.
  std::int32_t find(std::string_view token) const;

  /// Empty where no token has the id. Precondition: 0 <= id < size().
  const std::string& token(std::int32_t id) const { return tokens_[id]; }
  std::int32_t size() const { return static_cast<std::int32_t>(tokens_.size()); }

 private:
  // Open addressing with linear probing: loading a large vocabulary looks up a million strings.
  struct Slot {
    std::uint32_t hash = 0;
    std::int32_t id = kNone;
  };
  std::size_t slot_of(std::string_view token, std::uint32_t hash) const;

  std::vector<std::string> tokens_;
  std::vector<Slot> slots_;  // a power of two of them
};

}  // namespace ernie_image
