#include "enhance/enhance_cache.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <span>
#include <system_error>
#include <vector>

#include "core/log.h"
#include "ernie_image/error.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "io/sha256.h"
#include "io/user_cache.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 1;
constexpr std::size_t kMaxEntryBytes = 4 << 20;  // far above what any context length gives

json entry_of(const json& recipe, const EnhancedPrompt& enhanced) {
  json entry = {{"format", kFormat},
                {"recipe", recipe},
                {"text", enhanced.text},
                {"ids", enhanced.ids},
                {"rendered_prompt", enhanced.rendered_prompt},
                {"prompt_tokens", enhanced.prompt_tokens},
                {"finished", enhanced.finished}};
  entry["checksum"] = sha256_hex(entry.dump());
  return entry;
}

/// Throws if a field is missing or has another type.
EnhancedPrompt enhanced_prompt_of(const json& entry) {
  EnhancedPrompt enhanced;
  enhanced.text = entry.at("text").get<std::string>();
  enhanced.ids = entry.at("ids").get<std::vector<int>>();
  enhanced.rendered_prompt = entry.at("rendered_prompt").get<std::string>();
  enhanced.prompt_tokens = entry.at("prompt_tokens").get<int>();
  enhanced.finished = entry.at("finished").get<bool>();
  return enhanced;
}

/// Read, not mapped: another process may remove the file meanwhile. Empty if there is none.
std::string read_entry(const std::string& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return "";
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxEntryBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text.size() > kMaxEntryBytes ? "" : text;
}

bool is_entry_name(const std::string& name) {
  constexpr std::size_t kDigits = 64;
  return name.size() == kDigits + 5 && name.ends_with(".json") &&
         name.find_first_not_of("0123456789abcdef") == kDigits;
}

std::vector<fs::path> entries_in(const std::string& directory) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (is_entry_name(it->path().filename().string())) entries.push_back(it->path());
  }
  return entries;
}

}  // namespace

std::string EnhanceCache::path_of(const json& recipe) const {
  return join_path(directory_, sha256_hex(recipe.dump()) + ".json");
}

std::optional<EnhancedPrompt> EnhanceCache::find(const json& recipe) const {
  const std::string path = path_of(recipe);
  const std::string text = read_entry(path);
  if (text.empty()) return std::nullopt;
  try {
    const json entry = parse_json({path, std::as_bytes(std::span(text)), nullptr});
    EnhancedPrompt enhanced = enhanced_prompt_of(entry);
    if (entry != entry_of(recipe, enhanced))
      throw Error(ErrorKind::corrupt_file, path + ": does not answer the question in its name");
    return enhanced;
  } catch (const std::exception& error) {
    log_message(LogLevel::warning,
                "an enhanced prompt that was kept is damaged, and is made again: " +
                    std::string(error.what()));
    return std::nullopt;
  }
}

void EnhanceCache::store(const json& recipe, const EnhancedPrompt& enhanced) const {
  try {
    fs::create_directories(directory_);
    const std::string text = entry_of(recipe, enhanced).dump(1) + "\n";
    if (text.size() > kMaxEntryBytes) return;
    write_file_atomically(path_of(recipe), std::as_bytes(std::span(text)));
    remove_oldest();
  } catch (const std::exception& error) {  // a full disk, no permission
    log_message(LogLevel::warning,
                "an enhanced prompt cannot be kept, and the next run makes it again: " +
                    std::string(error.what()));
  }
}

void EnhanceCache::remove_oldest() const {
  const std::vector<fs::path> paths = entries_in(directory_);
  if (paths.size() <= max_entries_) return;
  std::vector<std::pair<fs::file_time_type, fs::path>> by_age;
  by_age.reserve(paths.size());
  std::error_code error;  // another process may have removed it; then it counts as the oldest
  for (const fs::path& path : paths) by_age.emplace_back(fs::last_write_time(path, error), path);
  const std::size_t surplus = paths.size() - max_entries_ + max_entries_ / 10;
  const auto last = by_age.begin() + static_cast<std::ptrdiff_t>(std::min(surplus, by_age.size()));
  std::partial_sort(by_age.begin(), last, by_age.end());
  for (auto it = by_age.begin(); it != last; ++it) fs::remove(it->second, error);
}

std::string default_enhance_cache_directory() { return user_cache_path("enhanced"); }

}  // namespace ernie_image
