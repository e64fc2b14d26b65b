// The file of API keys: who may ask, and how much.
//
//   # name:key[:requests_per_minute[:megapixels_per_hour]]     nothing: no limit
//   alice:4fb1d0c8a7e2963d5d0e
//   bob:09c1b2e7f3a44b6c8d11:20:60
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

using KeyDigest = std::array<unsigned char, 32>;

struct ApiKey {
  std::string name;                ///< letters, digits, "-", "_", "."
  KeyDigest digest;                ///< SHA-256 of the key; the key itself is not kept
  double requests_per_minute = 0;  ///< 0: no limit, here and below
  double megapixels_per_hour = 0;
};

class ApiKeys {
 public:
  /// No keys: everybody may ask.
  ApiKeys() = default;

  /// Throws Error(invalid_argument) naming file and line, also for a file that others than its
  /// owner and group can read.
  static ApiKeys read(const std::string& path);

  /// Throws Error(invalid_argument) naming `path` and the line.
  static ApiKeys parse(const std::string& path, std::string_view text);

  bool are_required() const { return !keys_.empty(); }
  const std::vector<ApiKey>& all() const { return keys_; }

  /// The key that a header `Authorization: Bearer KEY`, or `Basic` with the key as password,
  /// carries. Takes the same time whatever it is compared with.
  const ApiKey* find(std::string_view authorization) const;

  /// A secret that every server with the same keys has.
  std::string shared_secret() const;

 private:
  std::vector<ApiKey> keys_;
};

}  // namespace ernie_image
