#include "core/cpu_quota.h"

#include <fstream>
#include <sstream>
#include <string>

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

/// "max 100000" or "150000 100000": microseconds of CPU time in each period.
std::optional<double> read_v2(const fs::path& folder) {
  std::ifstream file(folder / "cpu.max");
  double quota = 0;
  double period = 0;
  if (file >> quota >> period && quota > 0 && period > 0) return quota / period;
  return std::nullopt;
}

/// The quota is -1 when there is no limit.
std::optional<double> read_v1(const fs::path& folder) {
  std::ifstream quota_file(folder / "cpu.cfs_quota_us");
  std::ifstream period_file(folder / "cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0)
    return quota / period;
  return std::nullopt;
}

template <typename Read>
std::optional<double> tightest(const fs::path& root, const fs::path& group, Read read) {
  std::optional<double> least = read(root);
  fs::path folder = root;
  for (const fs::path& part : group.relative_path()) {
    folder /= part;
    const std::optional<double> quota = read(folder);
    if (quota && (!least || *quota < *least)) least = quota;
  }
  return least;
}

/// "cpu,cpuacct"
bool lists_cpu(const std::string& controllers) {
  std::istringstream list(controllers);
  for (std::string name; std::getline(list, name, ',');) {
    if (name == "cpu") return true;
  }
  return false;
}

/// One line of /proc/self/cgroup: "hierarchy:controllers:path"; version 2 has "0::path".
std::optional<double> quota_of_line(const std::string& line, const fs::path& root) {
  const std::size_t first = line.find(':');
  const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
  if (second == std::string::npos) return std::nullopt;
  const std::string controllers = line.substr(first + 1, second - first - 1);
  const fs::path group = line.substr(second + 1);
  if (controllers.empty()) return tightest(root, group, read_v2);
  if (lists_cpu(controllers)) return tightest(root / controllers, group, read_v1);
  return std::nullopt;
}

}  // namespace

std::optional<double> cgroup_cpu_quota(const fs::path& membership, const fs::path& root) {
  std::ifstream file(membership);
  std::optional<double> least;
  for (std::string line; std::getline(file, line);) {
    const std::optional<double> quota = quota_of_line(line, root);
    if (quota && (!least || *quota < *least)) least = quota;
  }
  return least;
}

}  // namespace ernie_image
