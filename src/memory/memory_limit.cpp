#include "memory/memory_limit.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "core/cgroup.h"
#include "io/file_view.h"

namespace ernie_image {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

std::uint64_t mem_available() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string key;
    std::uint64_t kib = 0;
    if (fields >> key >> kib && key == "MemAvailable:") return kib * 1024;
  }
  return kUnlimited;
}

}  // namespace

std::uint64_t system_memory_limit() {
  const std::uint64_t available = available_memory_bytes();
  if (available == kUnlimited) return kUnlimited;
  return available / 16 * 15 + resident_memory().anonymous_bytes;
}

std::uint64_t total_memory_limit(std::uint64_t asked) {
  const std::uint64_t system = system_memory_limit();
  return asked == 0 ? system : std::min(asked, system);
}

std::uint64_t available_memory_bytes() {
  const auto group = cgroup_memory();
  return std::min(mem_available(), group ? group->available_bytes : kUnlimited);
}

}  // namespace ernie_image
