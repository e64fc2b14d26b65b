#include "core/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

class Cgroup : public ::testing::Test {
 protected:
  Cgroup() : root_(fs::temp_directory_path() / ("cgroup_" + std::to_string(getpid()))) {
    fs::create_directories(root_);
  }
  ~Cgroup() override { fs::remove_all(root_); }

  void write(const fs::path& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }

  std::optional<CgroupMemory> memory(const std::string& membership) {
    write("membership", membership);
    return cgroup_memory(root_ / "membership", root_);
  }

  fs::path root_;
};

TEST_F(Cgroup, Version2CountsPageCacheAsAvailable) {
  write("job/memory.max", "1000\n");
  write("job/memory.current", "700\n");
  write("job/memory.stat", "anon 100\nfile 600\nactive_file 150\ninactive_file 350\nshmem 100\n");
  const auto found = memory("0::/job\n");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->limit_bytes, 1000u);
  EXPECT_EQ(found->available_bytes, 800u);
}

TEST_F(Cgroup, TheAncestorThatLeavesLeastDecides) {
  write("a/memory.max", "5000\n");
  write("a/memory.current", "4900\n");
  write("a/b/memory.max", "1000\n");
  write("a/b/memory.current", "100\n");
  const auto found = memory("0::/a/b\n");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->limit_bytes, 5000u);
  EXPECT_EQ(found->available_bytes, 100u);
}

TEST_F(Cgroup, Version1ReadsItsOwnNamesAndTheWholeSubtree) {
  write("memory/job/memory.limit_in_bytes", "1000\n");
  write("memory/job/memory.usage_in_bytes", "700\n");
  write("memory/job/memory.stat",
        "inactive_file 1\ntotal_inactive_file 200\ntotal_active_file 50\n");
  const auto found = memory("9:cpu:/job\n4:memory:/job\n0::/\n");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->available_bytes, 550u);
}

TEST_F(Cgroup, InAContainerTheRootIsRead) {
  write("memory.max", "1000\n");
  write("memory.current", "400\n");
  EXPECT_EQ(memory("0::/not/visible/here\n")->available_bytes, 600u);
  write("memory/memory.limit_in_bytes", "900\n");
  write("memory/memory.usage_in_bytes", "400\n");
  EXPECT_EQ(memory("4:memory:/docker/0123\n")->available_bytes, 500u);
}

TEST_F(Cgroup, NoLimitIsNothing) {
  write("job/memory.max", "max\n");
  write("job/memory.current", "700\n");
  EXPECT_FALSE(memory("0::/job\n").has_value());
  write("memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("memory/memory.usage_in_bytes", "700\n");
  EXPECT_FALSE(memory("4:memory:/\n").has_value());
  EXPECT_FALSE(cgroup_memory(root_ / "absent", root_).has_value());
}

TEST_F(Cgroup, NothingIsLeftAboveTheLimitAndNonsenseIsIgnored) {
  write("job/memory.max", "1000\n");
  write("job/memory.current", "1200\n");
  write("job/memory.stat", "inactive_file\nactive_file much\n\n");
  EXPECT_EQ(memory("0::/job\n")->available_bytes, 0u);
  write("job/memory.current", "a lot\n");
  EXPECT_FALSE(memory("0::/job\n:\n::\nnonsense\n").has_value());
}

}  // namespace
}  // namespace ernie_image
