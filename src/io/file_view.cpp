#include "io/file_view.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "ernie_image/error.h"
#include "io/embedded_files.h"
#include "io/file_descriptor.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEmbeddedPrefix = "embedded:";

bool is_embedded(std::string_view path) { return path.starts_with(kEmbeddedPrefix); }

/// "emoji-tiny/vae" of "embedded:emoji-tiny/vae/"
std::string_view embedded_name(std::string_view path) {
  path.remove_prefix(kEmbeddedPrefix.size());
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

const EmbeddedFile* find_embedded(std::string_view path) {
  for (const EmbeddedFile& file : embedded_files()) {
    if (file.name == embedded_name(path)) return &file;
  }
  return nullptr;
}

/// `file`'s name below the embedded folder `directory`, or "" if it is not in there.
std::string_view name_below(const EmbeddedFile& file, std::string_view directory) {
  const std::string_view prefix = embedded_name(directory);
  if (!file.name.starts_with(prefix) || file.name.size() <= prefix.size()) return {};
  if (file.name[prefix.size()] != '/') return {};
  return file.name.substr(prefix.size() + 1);
}

FileView open_embedded(const std::string& path) {
  const EmbeddedFile* file = find_embedded(path);
  if (file == nullptr) {
    throw Error(ErrorKind::not_found, path + ": this program has no such built-in file");
  }
  return {path, file->bytes, nullptr, -1};
}

class Mapping {
 public:
  Mapping(FileDescriptor file, void* address, std::size_t size)
      : file_(std::move(file)), address_(address), size_(size) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { ::munmap(address_, size_); }

 private:
  FileDescriptor file_;  // stays open for advice about the page cache
  void* address_;
  std::size_t size_;
};

/// madvise on the whole pages that hold the part. Only a hint: should it fail, nothing changes.
void advise(const FilePart& part, int advice) {
  if (part.file.owner == nullptr) return;  // embedded or empty: nothing is mapped
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(part.bytes.data());
  const std::uintptr_t first = begin / page * page;
  ::madvise(reinterpret_cast<void*>(first), begin + part.bytes.size() - first, advice);
}

[[noreturn]] void throw_open_error(const std::string& path, int error) {
  const bool absent = error == ENOENT || error == ENOTDIR;
  throw Error(absent ? ErrorKind::not_found : ErrorKind::io,
              path + ": cannot open: " + std::strerror(error));
}

std::size_t checked_size(const std::string& path, const FileDescriptor& file) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_open_error(path, errno);
  if (S_ISDIR(status.st_mode)) {
    throw Error(ErrorKind::io, path + ": is a folder, expected a file");
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::io,
                path + ": is a pipe or device, expected a regular file (it has to be mapped)");
  }
  return static_cast<std::size_t>(status.st_size);
}

/// The number in a line such as "RssAnon:      1234 kB", in bytes.
std::size_t kilobytes_of(const std::string& line) {
  return std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10) * 1024;
}

}  // namespace

FileView open_file(const std::string& path) {
  if (is_embedded(path)) return open_embedded(path);
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) throw_open_error(path, errno);
  const std::size_t size = checked_size(path, file);
  if (size == 0) return {path, {}, nullptr, -1};  // an empty range cannot be mapped
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) {
    throw Error(ErrorKind::io, path + ": cannot map: " + std::strerror(errno));
  }
  const int descriptor = file.get();
  return {path,
          {static_cast<const std::byte*>(address), size},
          std::make_shared<Mapping>(std::move(file), address, size),
          descriptor};
}

bool file_exists(const std::string& path) {
  if (is_embedded(path)) return find_embedded(path) != nullptr;
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool directory_exists(const std::string& path) {
  if (!is_embedded(path)) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
  }
  const auto files = embedded_files();
  return std::any_of(files.begin(), files.end(),
                     [&](const EmbeddedFile& file) { return !name_below(file, path).empty(); });
}

std::vector<std::string> list_files(const std::string& directory) {
  std::vector<std::string> names;
  if (is_embedded(directory)) {
    for (const EmbeddedFile& file : embedded_files()) {
      const std::string_view name = name_below(file, directory);
      if (!name.empty() && name.find('/') == std::string_view::npos) names.emplace_back(name);
    }
  } else {
    std::error_code error;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error)) {
      std::error_code ignored;
      if (entry->is_regular_file(ignored)) names.push_back(entry->path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string join_path(std::string_view directory, std::string_view name) {
  std::string path(directory);
  if (!path.ends_with('/')) path += '/';
  return path.append(name);
}

void release_pages(const FileView& file) { release_pages({file, file.bytes}, PageCache::keep); }

void release_pages(const FilePart& part, PageCache cache) {
  advise(part, MADV_DONTNEED);
  if (cache == PageCache::keep || part.file.descriptor < 0) return;
  const std::ptrdiff_t offset = part.bytes.data() - part.file.bytes.data();
  ::posix_fadvise(part.file.descriptor, offset, static_cast<::off_t>(part.bytes.size()),
                  POSIX_FADV_DONTNEED);
}

void start_reading(const FilePart& part) { advise(part, MADV_WILLNEED); }

void map_pages([[maybe_unused]] const FilePart& part) {
#if defined(MADV_POPULATE_READ)
  advise(part, MADV_POPULATE_READ);  // since Linux 5.14; before, pages are mapped when touched
#endif
}

ResidentMemory resident_memory() {
  ResidentMemory memory;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) memory.anonymous_bytes += kilobytes_of(line);
    // RssShmem: mapped files that lie in a tmpfs.
    if (line.starts_with("RssFile:") || line.starts_with("RssShmem:"))
      memory.file_bytes += kilobytes_of(line);
  }
  return memory;
}

}  // namespace ernie_image
