#include "io/file_view.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>

#include "test_files.h"

namespace ernie_image {
namespace {

using test::expect_error;

class FileViewTest : public test::TemporaryFolder {};

TEST_F(FileViewTest, MapsTheWholeFile) {
  const FileView file = open_file(write("a.txt", "hello"));
  EXPECT_EQ(file.text(), "hello");
  EXPECT_EQ(file.path, path("a.txt"));
}

TEST_F(FileViewTest, CopyKeepsTheMappingAlive) {
  FileView copy;
  {
    const FileView file = open_file(write("a.txt", "hello"));
    copy = file;
  }
  std::filesystem::remove(path("a.txt"));
  EXPECT_EQ(copy.text(), "hello");
}

TEST_F(FileViewTest, EmptyFileIsAnEmptyView) {
  EXPECT_TRUE(open_file(write("empty", "")).bytes.empty());
}

TEST_F(FileViewTest, AbsentFileIsNotFound) {
  expect_error(ErrorKind::not_found, {path("none"), "No such file"},
               [&] { open_file(path("none")); });
  write("file", "x");
  expect_error(ErrorKind::not_found, {"file/none"}, [&] { open_file(path("file/none")); });
}

TEST_F(FileViewTest, FolderAndPipeAreErrorsThatSayWhatTheyAre) {
  expect_error(ErrorKind::io, {"is a folder"}, [&] { open_file(folder_); });
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  // Must not wait for a writer.
  expect_error(ErrorKind::io, {"pipe or device"}, [&] { open_file(path("pipe")); });
}

TEST_F(FileViewTest, ListsFilesSortedWithoutFolders) {
  write("b", "");
  write("a", "");
  write("folder/c", "");
  std::filesystem::create_symlink(path("b"), path("link"));
  EXPECT_EQ(list_files(folder_), (std::vector<std::string>{"a", "b", "link"}));
  EXPECT_TRUE(list_files(path("none")).empty());
}

TEST_F(FileViewTest, TellsFilesFromFolders) {
  write("a", "");
  EXPECT_TRUE(file_exists(path("a")));
  EXPECT_FALSE(file_exists(folder_));
  EXPECT_TRUE(directory_exists(folder_));
  EXPECT_FALSE(directory_exists(path("a")));
  EXPECT_FALSE(directory_exists(path("none")));
}

TEST(JoinPath, PutsOneSlashBetween) {
  EXPECT_EQ(join_path("a", "b"), "a/b");
  EXPECT_EQ(join_path("a/", "b"), "a/b");
}

TEST_F(FileViewTest, HugeFileOpensWithoutReadingItAndReleasesItsPages) {
  constexpr std::size_t kHuge = std::size_t{24} << 30;  // the size of the real model
  const std::string huge = write("huge", "");
  if (::truncate(huge.c_str(), kHuge) != 0) GTEST_SKIP() << "no sparse files here";
  const std::size_t before = resident_memory().file_bytes;
  if (before == 0) GTEST_SKIP() << "the system does not tell resident pages of files";
  const FileView file = open_file(huge);
  ASSERT_EQ(file.bytes.size(), kHuge);
  constexpr std::size_t kSlack = std::size_t{8} << 20;  // pages of the program's own code
  EXPECT_LT(resident_memory().file_bytes, before + kSlack);

  constexpr std::size_t kTouched = std::size_t{64} << 20;
  unsigned sum = 0;
  for (std::size_t i = 0; i < kTouched; i += 4096) sum += std::to_integer<unsigned>(file.bytes[i]);
  EXPECT_EQ(sum, 0u);
  EXPECT_GT(resident_memory().file_bytes, before + kTouched / 2);
  release_pages(file);
  EXPECT_LT(resident_memory().file_bytes, before + kSlack);
  EXPECT_EQ(file.bytes[0], std::byte{0}) << "a released page comes back";
}

}  // namespace
}  // namespace ernie_image
