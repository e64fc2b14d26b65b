#include "jobs/dated_folder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "common/output_paths.h"
#include "jobs/support.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;
using test::picture;

class DatedFolderTest : public test::TemporaryFolder {
 protected:
  std::vector<std::string> save(DatedFolder& folder) {
    JobResult result = test::result_of("first");
    result.images.push_back(picture(8, "image/webp", "second"));
    return folder.save(test::small_request("A red apple!"), result);
  }
  std::string text_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// What it was before.
  rlimit limit_files(const rlimit& limit) {
    rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    ::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return before;
  }
  std::string day() { return path("pictures/" + today() + "/"); }
};

TEST_F(DatedFolderTest, NamesFilesByDayNumberSeedAndPrompt) {
  DatedFolder folder(path("pictures"));
  const std::string seed = std::to_string(test::result_of("").images[0].image.seed);
  const std::string first = day() + "00001-" + seed + "-a-red-apple.png";
  EXPECT_EQ(save(folder), (std::vector{first, day() + "00002-8-a-red-apple.webp"}));
  EXPECT_EQ(text_of(first), "first");
}

TEST_F(DatedFolderTest, OverwritesNothing) {
  fs::create_directories(day());
  std::ofstream(day() + "00041-7-of-somebody.png") << "theirs";
  DatedFolder folder(path("pictures"));
  DatedFolder other(path("pictures"));
  const std::string first = save(folder).front();
  EXPECT_TRUE(first.starts_with(day() + "00042-")) << first;
  // Which has counted before the files above were there.
  const std::string second = save(other).front();
  EXPECT_NE(second, first);
  EXPECT_EQ(text_of(first), "first");
  EXPECT_EQ(text_of(day() + "00041-7-of-somebody.png"), "theirs");
}

TEST_F(DatedFolderTest, SavesAllPicturesOrNone) {
  DatedFolder folder(path("pictures"));
  JobResult result = test::result_of("first");
  result.images.push_back(picture(8, "image/webp", "second"));
  const rlimit small = {.rlim_cur = 16, .rlim_max = RLIM_INFINITY};  // bytes of a file
  const rlimit before = limit_files(small);
  result.images.back().bytes = std::string(100, 'x');
  EXPECT_THROW(folder.save(test::small_request("a"), result), Error);
  limit_files(before);
  EXPECT_TRUE(fs::is_empty(day()));
  EXPECT_EQ(folder.save(test::small_request("a"), result).size(), 2u);
}

TEST_F(DatedFolderTest, RefusesWhatCannotBeWrittenAtTheStart) {
  std::ofstream(path("file")) << "x";
  EXPECT_THROW(DatedFolder(path("file") + "/pictures"), Error);
}

TEST_F(DatedFolderTest, ShowsNoHomeToOthers) {
  const std::string home = std::getenv("HOME") == nullptr ? "" : std::getenv("HOME");
  if (home.size() < 2) GTEST_SKIP() << "no home";
  EXPECT_EQ(without_home(home + "/pictures"), "~/pictures");
  EXPECT_EQ(without_home("/srv/pictures"), "/srv/pictures");
}

}  // namespace
}  // namespace ernie_image
