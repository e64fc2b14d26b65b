// How many CPUs' worth of time the control groups grant this process.
#pragma once

#include <filesystem>
#include <optional>

namespace ernie_image {

/// The tightest CPU quota, in CPUs, among the control group named in `membership` (the text of
/// /proc/self/cgroup) and its ancestors, below `root` (/sys/fs/cgroup); version 1 and 2. Nothing
/// when there is no limit. A container that sees only its own subtree is looked up at the root.
std::optional<double> cgroup_cpu_quota(const std::filesystem::path& membership,
                                       const std::filesystem::path& root);

}  // namespace ernie_image
