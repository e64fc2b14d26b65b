#include "core/byte_counts.h"

#include <cmath>
#include <cstdio>

namespace ernie_image {

std::string binary_size(std::uint64_t bytes) {
  constexpr double kMiB = 1 << 20;
  const double mib = static_cast<double>(bytes) / kMiB;
  char text[32];
  if (mib < 4096) {
    std::snprintf(text, sizeof(text), "%.0f MiB", std::ceil(mib));
  } else {
    std::snprintf(text, sizeof(text), "%.2f GiB", std::ceil(mib / 10.24) / 100);
  }
  return text;
}

}  // namespace ernie_image
