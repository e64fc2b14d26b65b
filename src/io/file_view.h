// Read-only files: mapped from disk, or built into the program (the embedded model).
//
// Every reader of model files goes through this page, so that a path beginning with "embedded:"
// works wherever a folder does.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

/// The bytes of one file. Copies share the mapping.
struct FileView {
  std::string path;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  int descriptor = -1;  ///< of the open file while `owner` lives; -1 if nothing is mapped

  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

/// Maps a file; its pages are read when touched, so even a file of many gigabytes opens at once. A
/// file that another program cuts short while it is mapped ends this process (SIGBUS), as with
/// every mapped file: replace model files by renaming, never write into them. Throws
/// Error(not_found), or Error(io) with the system's reason (a directory, no permission).
FileView open_file(const std::string& path);

bool file_exists(const std::string& path);
bool directory_exists(const std::string& path);

/// Names of the files (not folders) directly inside, sorted; empty if there is no such folder.
std::vector<std::string> list_files(const std::string& directory);

/// `directory` + "/" + `name`
std::string join_path(std::string_view directory, std::string_view name);

/// Tells the system that the mapped pages can be dropped from this process; they come back from the
/// file when touched.
void release_pages(const FileView& file);

/// Some bytes of a file, such as the weights of one layer.
struct FilePart {
  FileView file;
  std::span<const std::byte> bytes;
};

/// Whether pages that leave this process stay in the system's page cache. They cost nothing there
/// unless a control group counts them as the process's own.
enum class PageCache { keep, drop };

/// The same for every page that the part touches.
void release_pages(const FilePart& part, PageCache cache);

/// Starts reading the part from disk, and returns at once.
void start_reading(const FilePart& part);

/// Reads the part from disk and maps its pages, as far as the system supports it.
void map_pages(const FilePart& part);

/// What this process holds in memory now: its own data, and pages of mapped files (which the system
/// can drop). Zeros where the system does not tell.
struct ResidentMemory {
  std::size_t anonymous_bytes = 0;
  std::size_t file_bytes = 0;
};
ResidentMemory resident_memory();

}  // namespace ernie_image
