#include "jobs/job_id.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::size_t kIdBytes = 16;

}  // namespace

std::string new_job_id() {
  std::array<unsigned char, kIdBytes> bytes{};
  // Up to 256 bytes come whole, whatever signals arrive.
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw Error(ErrorKind::io,
                std::string("the system gives no random numbers: ") + std::strerror(errno));
  }
  std::string id;
  for (const unsigned char byte : bytes) {
    id += "0123456789abcdef"[byte >> 4];
    id += "0123456789abcdef"[byte & 15];
  }
  return id;
}

bool is_job_id(std::string_view text) {
  return text.size() == 2 * kIdBytes && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace ernie_image
