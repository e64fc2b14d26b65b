#include "core/cgroup.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

// Version 1 writes "no limit" as the largest multiple of a page below 2^63.
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 62;

/// "cpu,cpuacct"
bool lists(const std::string& controllers, std::string_view controller) {
  std::istringstream list(controllers);
  for (std::string name; std::getline(list, name, ',');) {
    if (name == controller) return true;
  }
  return false;
}

void append_path(const fs::path& root, const fs::path& group, bool version2,
                 std::vector<CgroupFolder>& folders) {
  fs::path folder = root;
  folders.push_back({folder, version2});
  for (const fs::path& part : group.relative_path()) {
    folder /= part;
    folders.push_back({folder, version2});
  }
}

/// One line of /proc/self/cgroup: "hierarchy:controllers:path"; version 2 has "0::path".
void append_line(const std::string& line, const fs::path& root, std::string_view controller,
                 std::vector<CgroupFolder>& folders) {
  const std::size_t first = line.find(':');
  const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
  if (second == std::string::npos) return;
  const std::string controllers = line.substr(first + 1, second - first - 1);
  const fs::path group = line.substr(second + 1);
  if (controllers.empty()) append_path(root, group, true, folders);
  if (lists(controllers, controller)) append_path(root / controllers, group, false, folders);
}

std::optional<std::uint64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;  // absent, or "max"
}

/// Page cache in memory.stat. Version 1 has the whole subtree under names of their own.
std::uint64_t page_cache_bytes(const CgroupFolder& group) {
  const std::string prefix = group.version2 ? "" : "total_";
  std::ifstream file(group.path / "memory.stat");
  std::uint64_t sum = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string key;
    std::uint64_t bytes = 0;
    if (!(fields >> key >> bytes)) continue;
    if (key == prefix + "inactive_file" || key == prefix + "active_file") sum += bytes;
  }
  return sum;
}

std::optional<CgroupMemory> read_memory(const CgroupFolder& group) {
  const bool v2 = group.version2;
  const auto limit = read_number(group.path / (v2 ? "memory.max" : "memory.limit_in_bytes"));
  const auto usage = read_number(group.path / (v2 ? "memory.current" : "memory.usage_in_bytes"));
  if (!limit || !usage || *limit >= kNoLimit) return std::nullopt;
  const std::uint64_t held = *usage - std::min(*usage, page_cache_bytes(group));
  return CgroupMemory{*limit, *limit - std::min(*limit, held)};
}

}  // namespace

std::vector<CgroupFolder> cgroup_folders(const fs::path& membership, const fs::path& root,
                                         std::string_view controller) {
  std::vector<CgroupFolder> folders;
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) append_line(line, root, controller, folders);
  return folders;
}

std::optional<CgroupMemory> cgroup_memory(const fs::path& membership, const fs::path& root) {
  std::optional<CgroupMemory> least;
  for (const CgroupFolder& group : cgroup_folders(membership, root, "memory")) {
    const auto memory = read_memory(group);
    if (memory && (!least || memory->available_bytes < least->available_bytes)) least = memory;
  }
  return least;
}

std::optional<CgroupMemory> cgroup_memory() {
  return cgroup_memory("/proc/self/cgroup", "/sys/fs/cgroup");
}

}  // namespace ernie_image
