// The control groups of this process, version 1 and 2, and the memory that they leave it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace ernie_image {

/// One control group as a folder of files.
struct CgroupFolder {
  std::filesystem::path path;
  bool version2 = false;
};

/// The groups that rule over `controller` ("cpu"), from the root down to the one that `membership`
/// (the text of /proc/self/cgroup) names, below `root` (/sys/fs/cgroup). Not all of them need to
/// exist: a container that sees only its own subtree finds itself at the root.
std::vector<CgroupFolder> cgroup_folders(const std::filesystem::path& membership,
                                         const std::filesystem::path& root,
                                         std::string_view controller);

struct CgroupMemory {
  std::uint64_t limit_bytes = 0;
  /// What of the limit is not used by anything but page cache, which the system drops when asked
  /// for more.
  std::uint64_t available_bytes = 0;
};

/// The group among them that leaves least; nothing when no group has a limit.
std::optional<CgroupMemory> cgroup_memory(const std::filesystem::path& membership,
                                          const std::filesystem::path& root);

/// The same for this process.
std::optional<CgroupMemory> cgroup_memory();

}  // namespace ernie_image
