#include "server/signed_link.h"

#include <charconv>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace ernie_image {
namespace {

std::string signature_of(const std::string& secret, const std::string& id, const std::string& index,
                         const std::string& expires_s) {
  const std::string text = id + "/" + index + "/" + expires_s;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    hex += kDigits[digest[i] >> 4];
    hex += kDigits[digest[i] & 15];
  }
  return hex;
}

}  // namespace

std::string signed_path(const std::string& secret, const std::string& id, int index,
                        std::int64_t expires_s) {
  const std::string index_text = std::to_string(index);
  const std::string expires = std::to_string(expires_s);
  return "/v1/files/" + id + "/" + index_text + "/" + expires + "/" +
         signature_of(secret, id, index_text, expires);
}

bool is_signed(const std::string& secret, const std::string& id, const std::string& index,
               const std::string& expires_s, const std::string& signature, std::int64_t now_s) {
  const std::string expected = signature_of(secret, id, index, expires_s);
  if (signature.size() != expected.size() ||
      CRYPTO_memcmp(signature.data(), expected.data(), expected.size()) != 0) {
    return false;
  }
  std::int64_t expires = 0;
  std::from_chars(expires_s.data(), expires_s.data() + expires_s.size(), expires);
  return now_s < expires;
}

}  // namespace ernie_image
