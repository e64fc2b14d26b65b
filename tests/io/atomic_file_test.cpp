#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "io/file_view.h"
#include "test_files.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using test::read_whole;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// What reached the system: these two stand before the C library's, which the program links later.
std::vector<std::string> system_calls;

}  // namespace
}  // namespace ernie_image

extern "C" int fsync(int file) {
  ernie_image::system_calls.emplace_back("fsync");
  return static_cast<int>(::syscall(SYS_fsync, file));
}

extern "C" int rename(const char* from, const char* to) noexcept {
  ernie_image::system_calls.emplace_back("rename");
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

namespace ernie_image {
namespace {

class AtomicFileTest : public test::TemporaryFolder {
 protected:
  /// Everything in the folder, hidden files too.
  std::vector<std::string> files() const { return list_files(folder_); }
};

TEST_F(AtomicFileTest, WritesANewFile) {
  write_file_atomically(path("a"), bytes_of("hello"));
  EXPECT_EQ(read_whole(path("a")), "hello");
  EXPECT_EQ(files(), (std::vector<std::string>{"a"}));
}

/// After a power cut the name stands for the old file or for the new one, never for half of one.
TEST_F(AtomicFileTest, IsOnTheDiskBeforeItTakesItsName) {
  write("a", "old");
  system_calls.clear();
  write_file_atomically(path("a"), bytes_of("new"));
  EXPECT_EQ(system_calls, (std::vector<std::string>{"fsync", "rename", "fsync"}))
      << "the file, its name, its folder";
}

TEST_F(AtomicFileTest, ReplacesAnExistingFile) {
  write("a", "a much longer old content");
  write_file_atomically(path("a"), bytes_of("new"));
  EXPECT_EQ(read_whole(path("a")), "new");
}

TEST_F(AtomicFileTest, KeepsThePermissionsOfWhatItReplaces) {
  for (const mode_t mode : {0600, 0664, 0755}) {
    ASSERT_EQ(::chmod(write("a", "old").c_str(), mode), 0);
    write_file_atomically(path("a"), bytes_of("new"));
    struct stat status {};
    ASSERT_EQ(::stat(path("a").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, mode);
  }
}

TEST_F(AtomicFileTest, FollowsALinkToAFileThatIsNotThereYet) {
  fs::create_directory(path("target"));
  fs::create_symlink("target/new", path("link"));
  fs::create_symlink(path("link"), path("link2"));
  write_file_atomically(path("link2"), bytes_of("new"));
  EXPECT_TRUE(fs::is_symlink(path("link2")));
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_whole(path("target/new")), "new");
  fs::create_symlink("circle", path("circle"));
  expect_error(ErrorKind::io, {"circle"},
               [&] { write_file_atomically(path("circle"), bytes_of("new")); });
}

TEST_F(AtomicFileTest, ANewFileReplacesNothing) {
  EXPECT_TRUE(write_new_file_atomically(path("a"), bytes_of("one")));
  EXPECT_FALSE(write_new_file_atomically(path("a"), bytes_of("two")));
  EXPECT_EQ(read_whole(path("a")), "one");
  fs::create_symlink("nothing", path("dangling"));
  EXPECT_FALSE(write_new_file_atomically(path("dangling"), bytes_of("two")));
  EXPECT_EQ(files().size(), 1u);  // and no temporary one
}

TEST_F(AtomicFileTest, TryingLeavesNothing) {
  try_writing(path("a"), 5000);
  EXPECT_TRUE(files().empty());
  expect_error(ErrorKind::not_found, {"does not exist"}, [&] { try_writing(path("none/a"), 1); });
}

TEST_F(AtomicFileTest, AppendsPieces) {
  write_file_atomically(path("a"), [](const auto& append) {
    append(bytes_of("one "));
    append(bytes_of(""));
    append(bytes_of("two"));
  });
  EXPECT_EQ(read_whole(path("a")), "one two");
}

TEST_F(AtomicFileTest, WritesARelativePathIntoTheWorkingFolder) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  write_file_atomically("plain", bytes_of("x"));
  fs::current_path(before);
  EXPECT_EQ(files(), (std::vector<std::string>{"plain"}));
}

TEST_F(AtomicFileTest, PermissionsFollowTheUmask) {
  const mode_t before = ::umask(027);
  write_file_atomically(path("a"), bytes_of("x"));
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat(path("a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST_F(AtomicFileTest, InterruptedWriteLeavesTheOldFileAndNothingElse) {
  write("a", "old");
  EXPECT_THROW(write_file_atomically(path("a"),
                                     [&](const auto& append) {
                                       append(bytes_of("half of the new"));
                                       EXPECT_EQ(read_whole(path("a")), "old");
                                       throw std::runtime_error("interrupted");
                                     }),
               std::runtime_error);
  EXPECT_EQ(read_whole(path("a")), "old");
  EXPECT_EQ(files(), (std::vector<std::string>{"a"}));
}

/// Makes every file end at `bytes`, as a full disk would.
class ScopedFileSizeLimit {
 public:
  explicit ScopedFileSizeLimit(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);  // so that write() returns an error
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~ScopedFileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  ScopedFileSizeLimit(const ScopedFileSizeLimit&) = delete;
  ScopedFileSizeLimit& operator=(const ScopedFileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

TEST_F(AtomicFileTest, FullDiskLeavesTheOldFileAndNothingElse) {
  write("a", "old");
  {
    const ScopedFileSizeLimit limit(1000);
    expect_error(ErrorKind::io, {path("a"), "cannot write", "File too large"},
                 [&] { write_file_atomically(path("a"), bytes_of(std::string(5000, 'x'))); });
  }
  EXPECT_EQ(read_whole(path("a")), "old");
  EXPECT_EQ(files(), (std::vector<std::string>{"a"}));
}

TEST_F(AtomicFileTest, FullDeviceIsAnError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  expect_error(ErrorKind::io, {"/dev/full", "No space left"},
               [] { write_file_atomically("/dev/full", bytes_of("x")); });
}

TEST_F(AtomicFileTest, PipeIsWrittenTo) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  std::string received;
  std::thread reader([&] { received = read_whole(path("pipe")); });
  write_file_atomically(path("pipe"), bytes_of("through the pipe"));
  reader.join();
  EXPECT_EQ(received, "through the pipe");
  EXPECT_TRUE(fs::is_fifo(path("pipe"))) << "it was not replaced by a file";
}

TEST_F(AtomicFileTest, LinkStaysALink) {
  write("real/target", "old");
  fs::create_symlink("real/target", path("link"));
  write_file_atomically(path("link"), bytes_of("new"));
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_whole(path("real/target")), "new");
}

TEST_F(AtomicFileTest, FolderAsTargetIsAnError) {
  expect_error(ErrorKind::io, {folder_, "is a folder"},
               [&] { write_file_atomically(folder_, bytes_of("x")); });
  expect_error(ErrorKind::io, {"is a folder"}, [] { write_file_atomically("", bytes_of("x")); });
}

TEST_F(AtomicFileTest, MissingFolderIsNotFound) {
  expect_error(ErrorKind::not_found, {path("no/such"), "does not exist", "create it"},
               [&] { write_file_atomically(path("no/such/a"), bytes_of("x")); });
  write("file", "");
  expect_error(ErrorKind::not_found, {"file"},
               [&] { write_file_atomically(path("file/a"), bytes_of("x")); });
}

TEST_F(AtomicFileTest, ReadOnlyFolderOrFileIsAnError) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  write("locked/a", "old");
  fs::permissions(path("locked"), fs::perms::owner_read | fs::perms::owner_exec);
  expect_error(ErrorKind::io, {"locked", "Permission denied"},
               [&] { write_file_atomically(path("locked/b"), bytes_of("x")); });
  fs::permissions(path("locked"), fs::perms::owner_all);
  fs::permissions(path("locked/a"), fs::perms::owner_read);
  expect_error(ErrorKind::io, {"Permission denied"},
               [&] { write_file_atomically(path("locked/a"), bytes_of("x")); });
  EXPECT_EQ(read_whole(path("locked/a")), "old");
}

TEST_F(AtomicFileTest, LeftOversOfAKilledProcessAreSteppedOver) {
  for (int i = 0; i < 200; ++i) {
    write(".ernie-image-" + std::to_string(::getpid()) + "-" + std::to_string(i) + ".tmp", "left");
  }
  write_file_atomically(path("a"), bytes_of("x"));
  EXPECT_EQ(read_whole(path("a")), "x");
}

TEST_F(AtomicFileTest, NameOfTheGreatestLengthWorks) {
  const std::string name(255, 'n');
  write_file_atomically(path(name), bytes_of("x"));
  EXPECT_EQ(read_whole(path(name)), "x");
}

}  // namespace
}  // namespace ernie_image
