#include "core/byte_counts.h"

#include <cstdio>

namespace ernie_image {

std::string gib(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f GiB", static_cast<double>(bytes) / (1 << 30));
  return text;
}

}  // namespace ernie_image
