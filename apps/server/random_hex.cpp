#include "server/random_hex.h"

#include <vector>

#include <openssl/rand.h>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

void fill_random(unsigned char* bytes, std::size_t size) {
  if (RAND_bytes(bytes, static_cast<int>(size)) != 1) {
    throw Error(ErrorKind::device, "the system gives no random numbers");
  }
}

}  // namespace

std::string random_hex(std::size_t bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::vector<unsigned char> random(bytes);
  fill_random(random.data(), bytes);
  std::string text;
  for (const unsigned char byte : random) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::uint64_t random_seed() {
  unsigned char bytes[4];
  fill_random(bytes, sizeof bytes);
  std::uint64_t seed = 0;
  for (const unsigned char byte : bytes) seed = seed << 8 | byte;
  return seed;
}

}  // namespace ernie_image
