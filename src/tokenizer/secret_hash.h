// Hashes that differ from run to run: whoever writes a tokenizer's file cannot choose entries that
// share a slot of a table, which would take a square of time to load.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace ernie_image {

inline std::uint64_t hash_secret() {
  static const std::uint64_t secret = [] {
    std::random_device random;
    return static_cast<std::uint64_t>(random()) << 32 | random();
  }();
  return secret;
}

/// Every bit of the result depends on every bit of `value`. Numbers: the finaliser of MurmurHash3.
inline std::uint64_t secret_hash(std::uint64_t value) {
  value ^= hash_secret();
  value = (value ^ value >> 33) * 0xFF51AFD7ED558CCDu;
  value = (value ^ hash_secret() ^ value >> 33) * 0xC4CEB9FE1A85EC53u;
  return value ^ value >> 33;
}

inline std::uint64_t secret_hash(std::string_view text) {
  std::uint64_t hash = hash_secret() ^ text.size();
  while (!text.empty()) {
    std::uint64_t word = 0;
    const std::size_t size = text.size() < sizeof word ? text.size() : sizeof word;
    std::memcpy(&word, text.data(), size);
    text.remove_prefix(size);
    hash = (hash ^ word) * 0xFF51AFD7ED558CCDu;
    hash ^= hash >> 32;
  }
  return secret_hash(hash);
}

}  // namespace ernie_image
