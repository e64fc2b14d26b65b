#include "io/model_cache.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include <pwd.h>
#include <unistd.h>

#include "io/file_view.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

std::string plain_environment(const std::string& variable) {
  const char* value = std::getenv(variable.c_str());
  return value == nullptr ? "" : value;
}

/// As Python's os.path.expanduser: "~" is HOME, "~name" that user's folder; else as it was.
std::string with_home(const std::string& path) {
  if (!path.starts_with('~')) return path;
  const std::size_t end = std::min(path.find('/'), path.size());
  std::string home = end == 1 ? plain_environment("HOME") : "";
  if (end > 1) {
    const passwd* user = ::getpwnam(path.substr(1, end - 1).c_str());
    home = user == nullptr ? path.substr(0, end) : user->pw_dir;
  }
  return home + path.substr(end);
}

/// As os.path.expandvars: $NAME and ${NAME}; what is not set stays as it is.
std::string with_variables(const std::string& path) {
  const auto is_part = [](unsigned char c) {
    return c < 128 && (std::isalnum(c) != 0 || c == '_');
  };
  std::string result;
  for (std::size_t i = 0; i < path.size();) {
    const bool braced = path.compare(i, 2, "${") == 0;
    const std::size_t begin = i + (braced ? 2 : 1);
    std::size_t end = begin;
    while (end < path.size() && (braced ? path[end] != '}' : is_part(path[end]))) ++end;
    const bool is_variable = path[i] == '$' && end > begin && (!braced || end < path.size());
    const std::string name = is_variable ? path.substr(begin, end - begin) : "";
    if (is_variable && std::getenv(name.c_str()) != nullptr) {
      result += plain_environment(name);
      i = end + (braced ? 1 : 0);
    } else {
      result += path[i++];
    }
  }
  return result;
}

/// The variable's value as the Python clients understand it; "" if unset.
std::string environment(const char* variable) {
  return with_variables(with_home(plain_environment(variable)));
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
    if (std::string cache = environment(variable); !cache.empty()) return cache;
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

/// "master", else the only one.
std::string modelscope_snapshot(const std::string& snapshots) {
  std::string master = join_path(snapshots, "master");
  if (directory_exists(master)) return master;
  std::string only;
  std::error_code error;
  for (fs::directory_iterator entry(snapshots, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (!entry->is_directory(ignored)) continue;
    if (!only.empty()) return "";
    only = entry->path().string();
  }
  return only;
}

/// The layout of modelscope 1.38 and later first, then the older ones, with "___" for ".". Its
/// client does not read XDG_CACHE_HOME, which earlier versions of this program did.
std::optional<std::string> find_in_modelscope(const std::string& owner, std::string name,
                                              std::vector<std::string>& looked_in) {
  std::string cache = environment("MODELSCOPE_CACHE");
  if (cache.empty()) cache = join_path(environment("HOME"), ".cache/modelscope");
  const std::string snapshots = join_path(cache, "models/" + owner + "--" + name + "/snapshots");
  if (const std::string found = modelscope_snapshot(snapshots); !found.empty()) return found;
  looked_in.push_back(snapshots);
  for (std::size_t at = 0; (at = name.find('.', at)) != std::string::npos;) {
    name.replace(at, 1, "___");
  }
  for (const char* layout : {"hub/models", "hub", "models", ""}) {
    const std::string folder = join_path(join_path(cache, layout), owner + "/" + name);
    if (directory_exists(folder)) return folder;
    looked_in.push_back(folder);
  }
  return std::nullopt;
}

bool is_in_path(const std::string& program) {
  const std::string path = plain_environment("PATH");
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    const std::string file = join_path(path.substr(begin, end - begin), program);
    if (file_exists(file) && ::access(file.c_str(), X_OK) == 0) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

bool is_hub_id(std::string_view text) {
  const std::size_t slash = text.find('/');
  return slash != std::string_view::npos && is_name(text.substr(0, slash)) &&
         is_name(text.substr(slash + 1));
}

std::vector<std::string> HubClient::download(const std::string& hub_id) const {
  if (program == "modelscope") return {program, "download", "--model", hub_id};
  return {program, "download", hub_id};
}

std::vector<HubClient> installed_hub_clients() {
  std::vector<HubClient> clients;
  for (const char* program : {"hf", "huggingface-cli", "modelscope"}) {
    // Later versions of the first have the second besides, for nothing but a word of goodbye.
    if (std::string_view(program) == "huggingface-cli" && !clients.empty()) continue;
    if (is_in_path(program)) clients.push_back({program});
  }
  return clients;
}

std::string download_advice(const std::string& hub_id) {
  std::vector<HubClient> clients = installed_hub_clients();
  if (clients.empty()) clients = {{"hf"}, {"modelscope"}};
  std::string text;
  for (const HubClient& client : clients) {
    text += (text.empty() ? "  " : "\n  ");
    const std::vector<std::string> words = client.download(hub_id);
    for (const std::string& word : words) text += (&word == &words[0] ? "" : " ") + word;
  }
  return text;
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
