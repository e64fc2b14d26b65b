#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <vector>

#include "ernie_image/error.h"
#include "io/file_descriptor.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_write_error(const std::string& path, const std::string& reason) {
  throw Error(ErrorKind::io, path + ": cannot write: " + reason);
}

/// Every byte, or an exception with the reason (a full disk, a file size limit, a closed pipe).
void write_all(const FileDescriptor& file, std::span<const std::byte> bytes,
               const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      throw_write_error(path, std::strerror(errno));
    }
  }
}

std::string folder_of(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

/// A file beside the target that is removed unless it takes the target's place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& target)
      : target_(target), folder_(folder_of(target)), file_(create()) {}

  /// Owner and permissions of the file that is replaced, as far as this process may set them.
  void take_mode(const struct stat& replaced) {
    constexpr mode_t kPermissions = 0777;
    if (::fchown(file_.get(), replaced.st_uid, replaced.st_gid) != 0) {
      // Another user's file in a folder of ours: it becomes ours, as with every program that
      // renames.
    }
    ::fchmod(file_.get(), replaced.st_mode & kPermissions);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  void append(std::span<const std::byte> bytes) { write_all(file_, bytes, target_); }

  /// Renamed only once its bytes are on the disk: after a power cut the target is the old file or
  /// the new one. Some network file systems report a full disk at fsync or close only.
  void commit() {
    finish();
    rename();
  }

  /// The same unless the target is there; false then.
  bool commit_as_new() {
    finish();
    if (::link(path_.c_str(), target_.c_str()) == 0) {
      sync_folder();
      return true;
    }
    if (errno == EEXIST) return false;
    // A file system without links: two programs that look in the same moment may both see nothing.
    if (::access(target_.c_str(), F_OK) == 0) return false;
    rename();
    return true;
  }

 private:
  void finish() {
    if (::fsync(file_.get()) != 0) throw_write_error(target_, std::strerror(errno));
    if (::close(file_.release()) != 0) throw_write_error(target_, std::strerror(errno));
  }

  void rename() {
    if (::rename(path_.c_str(), target_.c_str()) != 0) {
      throw_write_error(target_, std::strerror(errno));
    }
    path_.clear();
    sync_folder();
  }

  /// Makes the new name durable as well; not every file system can, and the file itself is safe.
  void sync_folder() const {
    const FileDescriptor folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.valid()) ::fsync(folder.get());
  }

  FileDescriptor create() {
    static std::atomic<unsigned> counter{0};
    constexpr int kAttempts = 1000;  // names left behind by a killed process of the same id
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      path_ = folder_ + "/.ernie-image-" + std::to_string(::getpid()) + "-" +
              std::to_string(counter.fetch_add(1)) + ".tmp";
      FileDescriptor file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
      if (file.valid()) return file;
      if (errno != EEXIST) break;
    }
    const int error = errno;
    path_.clear();
    if (error == ENOENT || error == ENOTDIR) {
      throw Error(ErrorKind::not_found,
                  target_ + ": the folder " + folder_ + " does not exist; create it first");
    }
    throw_write_error(target_,
                      "no file can be made in the folder " + folder_ + ": " + std::strerror(error));
  }

  std::string target_;
  std::string folder_;
  std::string path_;  // "" once renamed; before file_, which is initialised by setting it
  FileDescriptor file_;
};

/// A pipe or device cannot be replaced: it is written to as it is.
void write_directly(const std::string& path, const auto& write) {
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) throw_write_error(path, std::strerror(errno));
  write([&](std::span<const std::byte> bytes) { write_all(file, bytes, path); });
}

}  // namespace

std::string link_target(const std::string& path) {
  constexpr int kMostLinks = 40;  // as the system follows
  fs::path target = path;
  for (int i = 0; i < kMostLinks; ++i) {
    std::error_code error;
    const fs::path next = fs::read_symlink(target, error);
    if (error) return target.string();
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  throw_write_error(path, "links that lead to each other");
}

void try_writing(const std::string& path, std::size_t bytes) {
  TemporaryFile file(link_target(path));
  file.append(std::vector<std::byte>(bytes));
}

void write_file_atomically(
    const std::string& path,
    const std::function<void(const std::function<void(std::span<const std::byte>)>& append)>&
        write) {
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (path.empty() || (exists && S_ISDIR(status.st_mode))) {
    throw_write_error(path, "this is a folder, expected the name of a file");
  }
  if (exists && !S_ISREG(status.st_mode)) return write_directly(path, write);
  // A rename would replace even a file that its owner has protected.
  if (exists && ::access(path.c_str(), W_OK) != 0) throw_write_error(path, std::strerror(errno));

  TemporaryFile file(link_target(path));
  if (exists) file.take_mode(status);
  write([&](std::span<const std::byte> bytes) { file.append(bytes); });
  file.commit();
}

bool write_new_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  TemporaryFile file(path);
  file.append(bytes);
  return file.commit_as_new();
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, [&](const auto& append) { append(bytes); });
}

}  // namespace ernie_image
