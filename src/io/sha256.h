// SHA-256.
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <string>
#include <string_view>

namespace ernie_image {

/// The digest of what is fed in, piece by piece. Throws Error(unsupported) where the crypto library
/// offers no SHA-256.
class Sha256 {
 public:
  Sha256();
  void update(std::string_view bytes);
  /// 64 digits, lower case; ends the digest.
  std::string hex();

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

std::string sha256_hex(std::string_view bytes);

}  // namespace ernie_image
