#include "io/model_cache.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "io/file_view.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

/// The variable's value with a leading "~" replaced, as the Python tools do; "" if unset.
std::string environment(const char* variable) {
  const char* value = std::getenv(variable);
  std::string text = value == nullptr ? "" : value;
  if (text == "~" || text.starts_with("~/")) text.replace(0, 1, environment("HOME"));
  return text;
}

bool is_name(std::string_view text) {
  const auto allowed = [](unsigned char c) {
    return c < 128 && (std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-');
  };
  return !text.empty() && text.size() <= 200 && text != "." &&
         text.find("..") == std::string_view::npos &&
         std::all_of(text.begin(), text.end(), allowed);
}

std::string user_cache() {
  const std::string xdg = environment("XDG_CACHE_HOME");
  return xdg.empty() ? join_path(environment("HOME"), ".cache") : xdg;
}

std::string huggingface_cache() {
  for (const char* variable : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string cache = environment(variable); !cache.empty()) return cache;
  }
  const std::string home = environment("HF_HOME");
  return join_path(home.empty() ? join_path(user_cache(), "huggingface") : home, "hub");
}

/// The commit that refs/main names; "" if there is no such file or it holds something else.
std::string main_revision(const std::string& repository) {
  const std::string path = join_path(repository, "refs/main");
  if (!file_exists(path)) return "";
  const FileView file = open_file(path);
  std::string_view text = file.text();
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.remove_suffix(1);
  }
  return is_name(text) ? std::string(text) : "";
}

std::string newest_snapshot(const std::string& snapshots) {
  std::string newest;
  auto newest_time = fs::file_time_type::min();
  std::error_code error;
  for (fs::directory_iterator entry(snapshots, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (!entry->is_directory(ignored)) continue;
    const auto time = entry->last_write_time(ignored);
    if (time < newest_time) continue;
    newest_time = time;
    newest = entry->path().string();
  }
  return newest;
}

std::optional<std::string> find_in_huggingface(const std::string& owner, const std::string& name,
                                               std::vector<std::string>& looked_in) {
  const std::string repository = join_path(huggingface_cache(), "models--" + owner + "--" + name);
  const std::string snapshots = join_path(repository, "snapshots");
  const std::string revision = main_revision(repository);
  const std::string snapshot =
      revision.empty() ? newest_snapshot(snapshots) : join_path(snapshots, revision);
  if (!snapshot.empty() && directory_exists(snapshot)) return snapshot;
  if (revision.empty()) {
    looked_in.push_back(snapshots);
  } else {
    looked_in.push_back(snapshot + " (named by refs/main, but not there: an unfinished download)");
  }
  return std::nullopt;
}

std::optional<std::string> find_in_modelscope(const std::string& owner, std::string name,
                                              std::vector<std::string>& looked_in) {
  std::string cache = environment("MODELSCOPE_CACHE");
  if (cache.empty()) cache = join_path(user_cache(), "modelscope");
  for (std::size_t at = 0; (at = name.find('.', at)) != std::string::npos;) {
    name.replace(at, 1, "___");
  }
  for (const char* layout : {"hub/models", "hub", "models"}) {
    const std::string folder = join_path(join_path(cache, layout), owner + "/" + name);
    if (directory_exists(folder)) return folder;
    looked_in.push_back(folder);
  }
  return std::nullopt;
}

}  // namespace

bool is_hub_id(std::string_view text) {
  const std::size_t slash = text.find('/');
  return slash != std::string_view::npos && is_name(text.substr(0, slash)) &&
         is_name(text.substr(slash + 1));
}

std::optional<std::string> find_in_caches(const std::string& hub_id,
                                          std::vector<std::string>& looked_in) {
  const std::size_t slash = hub_id.find('/');
  const std::string owner = hub_id.substr(0, slash);
  const std::string name = hub_id.substr(slash + 1);
  if (auto found = find_in_huggingface(owner, name, looked_in)) return found;
  return find_in_modelscope(owner, name, looked_in);
}

}  // namespace ernie_image
