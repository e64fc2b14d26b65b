#include "quantize/quantize_output.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/log.h"
#include "ernie_image/error.h"
#include "io/file_view.h"
#include "io/model_folder.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const std::string& output, const std::string& reason) {
  throw Error(ErrorKind::invalid_argument, "--output: " + output + " " + reason);
}

bool is_within(const fs::path& inner, const fs::path& outer) {
  const auto [rest, unused] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return rest == outer.end();
}

fs::path resolved(const std::string& path) {
  std::error_code error;
  fs::path result = fs::weakly_canonical(fs::absolute(path, error), error);
  if (!result.has_filename()) result = result.parent_path();  // of "a/b/"
  return result;
}

/// Left behind by a process that was killed; see atomic_file.cpp.
bool is_temporary(const fs::path& file) {
  const std::string name = file.filename().string();
  return name.starts_with(".ernie-image-") && name.ends_with(".tmp");
}

/// Safe while the folder is locked.
void remove_temporary_files(const std::string& output) {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::recursive_directory_iterator entry(output, error), end; !error && entry != end;
       entry.increment(error)) {
    if (is_temporary(entry->path())) found.push_back(entry->path());
  }
  for (const fs::path& file : found) fs::remove(file, error);
}

/// model_index.json first: from then on the folder is no model.
void remove_files(const std::string& output, const ModelManifest& manifest) {
  std::error_code error;
  fs::remove(join_path(output, kModelIndex), error);
  for (const auto& [name, digest] : manifest.files) fs::remove(join_path(output, name), error);
  fs::remove(join_path(output, kManifestName), error);
}

}  // namespace

void require_apart(const std::string& source, const std::string& output) {
  if (output.empty()) refuse("\"\"", "is no name of a folder");
  if (output.starts_with("embedded:")) refuse(output, "is built into the program");
  if (source.starts_with("embedded:")) return;
  const fs::path from = resolved(source), to = resolved(output);
  if (from == to) refuse(output, "is the source itself; name another folder");
  if (is_within(to, from)) refuse(output, "lies within the source; name a folder beside it");
  if (is_within(from, to)) refuse(output, "holds the source; name a folder beside it");
}

OutputLock open_output(const std::string& output) {
  std::error_code error;
  if (fs::exists(output, error) && !fs::is_directory(output, error))
    refuse(output, "is a file; name a folder");
  const fs::path parent = fs::absolute(output).lexically_normal().parent_path();
  fs::create_directory(output, error);
  if (error) {
    const bool absent = !fs::is_directory(output.ends_with('/') ? parent.parent_path() : parent);
    throw Error(absent ? ErrorKind::not_found : ErrorKind::io,
                "--output: " + output + " cannot be made: " + error.message());
  }
  FileDescriptor folder(::open(output.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) {
    throw Error(ErrorKind::io,
                "--output: " + output + " cannot be opened: " + std::strerror(errno));
  }
  if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      throw Error(ErrorKind::io, "--output: another process is writing to " + output);
    // Not every network file system can lock.
    log_message(LogLevel::warning, output + " cannot be locked (" + std::strerror(errno) +
                                       "); see that no other process writes to it");
  }
  return OutputLock(std::move(folder));
}

std::map<std::string, FileDigest> files_to_keep(const std::string& output, const ModelManifest& job,
                                                bool force) {
  const auto earlier = ModelManifest::read(output);
  if (!earlier) {
    if (fs::is_empty(output)) return {};
    refuse(output, "is not empty, and not from an earlier run; name a new folder");
  }
  remove_temporary_files(output);
  if (force) {
    remove_files(output, *earlier);
    return {};
  }
  if (file_exists(join_path(output, kModelIndex)))
    refuse(output, "is finished; write it anew with --force, or check it with inspect --verify");
  if (!earlier->is_same_job(job)) {
    refuse(output,
           "was begun from another source or with other options, and is not finished; begin anew "
           "with --force");
  }
  return earlier->files;
}

void require_space_for(std::uint64_t bytes, const std::string& output) {
  std::error_code error;
  fs::path standing = fs::absolute(output, error);
  while (!fs::exists(standing, error) && standing != standing.parent_path())
    standing = standing.parent_path();
  const fs::space_info space = fs::space(standing, error);
  if (error || space.available >= bytes) return;
  throw Error(ErrorKind::io, output + ": not enough space: " + std::to_string(bytes) +
                                 " bytes will be written and " + std::to_string(space.available) +
                                 " are free");
}

void make_folder_of(const std::string& output, const std::string& name) {
  const std::size_t slash = name.find('/');
  if (slash == std::string::npos) return;
  const std::string folder = join_path(output, name.substr(0, slash));
  std::error_code error;
  if (fs::is_symlink(folder, error))
    throw Error(ErrorKind::io, folder + ": is a link, expected a folder");
  fs::create_directory(folder, error);
  if (error) throw Error(ErrorKind::io, folder + ": cannot be made: " + error.message());
}

}  // namespace ernie_image
