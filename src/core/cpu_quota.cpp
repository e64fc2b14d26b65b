#include "core/cpu_quota.h"

#include <fstream>

#include "core/cgroup.h"

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

}  // namespace

std::optional<double> cgroup_cpu_quota(const fs::path& membership, const fs::path& root) {
  std::optional<double> least;
  for (const CgroupFolder& group : cgroup_folders(membership, root, "cpu")) {
    const std::optional<double> quota = group.version2 ? read_v2(group.path) : read_v1(group.path);
    if (quota && (!least || *quota < *least)) least = quota;
  }
  return least;
}

}  // namespace ernie_image
