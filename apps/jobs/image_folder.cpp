#include "jobs/image_folder.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <span>

#include "ernie_image/error.h"
#include "io/atomic_file.h"
#include "io/file_view.h"
#include "jobs/job_id.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

// The age of a temporary file whose process may be one of another machine.
constexpr auto kLeftoverAge = std::chrono::hours(1);

/// The process that made a temporary file of atomic_file.cpp, ".ernie-image-<pid>-<n>.tmp".
std::optional<pid_t> writer_of(std::string_view name) {
  constexpr std::string_view kPrefix = ".ernie-image-";
  if (!name.starts_with(kPrefix) || !name.ends_with(".tmp")) return std::nullopt;
  pid_t process = 0;
  const auto parsed =
      std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), process);
  if (parsed.ec != std::errc() || process <= 0) return std::nullopt;
  return process;
}

void remove_leftovers(const std::string& directory) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    const auto writer = writer_of(entry.path().filename().string());
    if (!writer || !entry.is_regular_file(error)) continue;
    const bool is_gone = ::kill(*writer, 0) != 0 && errno == ESRCH;
    const auto age = fs::file_time_type::clock::now() - entry.last_write_time(error);
    if (is_gone || (!error && age > kLeftoverAge)) fs::remove(entry.path(), error);
  }
}

void require_job_id(const std::string& id) {
  if (!is_job_id(id)) throw Error(ErrorKind::invalid_argument, "not the id of a job");
}

}  // namespace

ImageFolder::ImageFolder(std::string directory) : directory_(std::move(directory)) {
  std::error_code error;
  fs::create_directories(directory_, error);
  if (!directory_exists(directory_) || ::access(directory_.c_str(), W_OK | X_OK) != 0) {
    throw Error(ErrorKind::io, directory_ + ": pictures cannot be written to this directory: " +
                                   (error ? error.message() : "it is not writable"));
  }
  remove_leftovers(directory_);
}

std::string ImageFolder::image_name(const std::string& id, int index,
                                    const std::string& extension) {
  require_job_id(id);
  return id + "_" + std::to_string(index) + "." + extension;
}

std::string ImageFolder::trace_name(const std::string& id) {
  require_job_id(id);
  return id + "_trace.json";
}

std::string ImageFolder::input_name(const std::string& id, const std::string& what) {
  require_job_id(id);
  return id + "_" + what + ".png";
}

void ImageFolder::write(const std::string& name, std::string_view bytes) const {
  write_file_atomically(join_path(directory_, name), std::as_bytes(std::span(bytes)));
}

std::optional<std::string> ImageFolder::read(const std::string& name) const {
  std::ifstream file(join_path(directory_, name), std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void ImageFolder::remove_all_of(const std::string& id) const {
  remove(trace_name(id));
  for (const char* what : {"image", "mask"}) remove(input_name(id, what));
  for (int index = 0, removed = 1; removed > 0; ++index) {
    removed = 0;
    for (const char* extension : {"png", "jpeg", "webp"}) {
      std::error_code error;
      removed += fs::remove(join_path(directory_, image_name(id, index, extension)), error);
    }
  }
}

void ImageFolder::remove(const std::string& name) const {
  std::error_code error;
  fs::remove(join_path(directory_, name), error);
}

}  // namespace ernie_image
