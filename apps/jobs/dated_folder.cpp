#include "jobs/dated_folder.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <span>

#include "common/output_paths.h"
#include "io/atomic_file.h"
#include "io/file_view.h"
#include "jobs/job_json.h"
#include "request/request.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

constexpr int kMostNumbers = 100000;  // that others may take while one is looked for

/// 7 for "00007-42-a-red-apple.png"; 0 for other names.
int number_of_picture(const std::string& name) {
  int number = 0;
  const char* const end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data(), end, number);
  const bool is_ours = parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == '-';
  return is_ours && number > 0 ? number : 0;
}

int last_number_in(const std::string& folder) {
  int last = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    last = std::max(last, number_of_picture(entry.path().filename().string()));
  }
  return last;
}

void make_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw Error(ErrorKind::io, folder + ": this folder cannot be made: " + error.message());
}

std::string absolute_variable(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr && value[0] == '/' ? value : "";
}

}  // namespace

DatedFolder::DatedFolder(std::string directory) : directory_(std::move(directory)) {
  make_folder(directory_);
  require_writable("--save-dir", join_path(directory_, "picture.png"));
}

std::vector<std::string> DatedFolder::save(const JobRequest& request, const JobResult& result) {
  const std::lock_guard lock(mutex_);
  const std::string day = today();
  std::vector<std::string> paths;
  try {
    for (const FinishedImage& picture : result.images)
      paths.push_back(save_one(day, prompt_of(request), picture));
  } catch (...) {
    for (const std::string& path : paths) {
      std::error_code error;
      fs::remove(path, error);
    }
    throw;
  }
  return paths;
}

std::string DatedFolder::save_one(const std::string& day, const std::string& prompt,
                                  const FinishedImage& picture) {
  const std::string folder = join_path(directory_, day);
  make_folder(folder);  // it may have been removed meanwhile
  auto [last, is_new] = last_numbers_.try_emplace(day, 0);
  if (is_new) last->second = last_number_in(folder);
  const std::string rest = "-" + std::to_string(picture.image.seed) + "-" + name_of_prompt(prompt) +
                           "." + extension_of(picture.image.content_type);
  for (int i = 0; i < kMostNumbers; ++i) {
    char number[16];
    std::snprintf(number, sizeof number, "%05d", ++last->second);
    const std::string path = join_path(folder, number + rest);
    if (write_new_file_atomically(path, std::as_bytes(std::span(picture.bytes)))) return path;
  }
  throw Error(ErrorKind::io, folder + ": no name is free in this folder");
}

std::string default_pictures_folder() {
  const std::string data = absolute_variable("XDG_DATA_HOME"), home = absolute_variable("HOME");
  if (!data.empty()) return join_path(data, "ernie-image/pictures");
  return home.empty() ? "" : join_path(home, ".local/share/ernie-image/pictures");
}

std::string without_home(const std::string& path) {
  const std::string home = absolute_variable("HOME");
  const bool is_below = home.size() > 1 && path.starts_with(home + "/");
  return is_below ? "~" + path.substr(home.size()) : path;
}

}  // namespace ernie_image
