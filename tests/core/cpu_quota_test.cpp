#include "core/cpu_quota.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

class CpuQuota : public ::testing::Test {
 protected:
  CpuQuota() : root_(fs::temp_directory_path() / ("cpu_quota_" + std::to_string(getpid()))) {
    fs::create_directories(root_);
  }
  ~CpuQuota() override { fs::remove_all(root_); }

  void write(const fs::path& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }

  std::optional<double> quota(const std::string& membership) {
    write("membership", membership);
    return cgroup_cpu_quota(root_ / "membership", root_);
  }

  fs::path root_;
};

TEST_F(CpuQuota, NothingWithoutControlGroups) {
  EXPECT_FALSE(cgroup_cpu_quota(root_ / "absent", root_).has_value());
  EXPECT_FALSE(quota("0::/user.slice\n").has_value());
}

TEST_F(CpuQuota, Version2TakesTheTightestAncestor) {
  write("a/cpu.max", "150000 100000\n");
  write("a/b/cpu.max", "max 100000\n");
  write("a/b/c/cpu.max", "400000 100000\n");
  EXPECT_EQ(quota("0::/a/b/c\n"), 1.5);
}

TEST_F(CpuQuota, Version2InAContainerReadsTheRoot) {
  write("cpu.max", "250000 100000\n");
  EXPECT_EQ(quota("0::/not/visible/here\n"), 2.5);
}

TEST_F(CpuQuota, Version2WithoutLimitIsNothing) {
  write("a/cpu.max", "max 100000\n");
  EXPECT_FALSE(quota("0::/a\n").has_value());
}

TEST_F(CpuQuota, Version1FollowsTheCpuController) {
  write("cpu,cpuacct/job/cpu.cfs_quota_us", "300000\n");
  write("cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  write("cpuset/job/cpu.cfs_quota_us", "1\n");
  write("cpuset/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota("5:cpuset:/job\n3:cpu,cpuacct:/job\n0::/\n"), 3.0);
}

TEST_F(CpuQuota, Version1WithoutLimitIsNothing) {
  write("cpu/job/cpu.cfs_quota_us", "-1\n");
  write("cpu/job/cpu.cfs_period_us", "100000\n");
  EXPECT_FALSE(quota("3:cpu:/job\n").has_value());
}

TEST_F(CpuQuota, NonsenseIsIgnored) {
  write("a/cpu.max", "lots of it\n");
  EXPECT_FALSE(quota("0::/a\nno colons\n:\n::\n").has_value());
}

}  // namespace
}  // namespace ernie_image
