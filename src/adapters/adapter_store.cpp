#include "adapters/adapter_store.h"

#include <sys/stat.h>

#include <algorithm>

namespace ernie_image {
namespace {

constexpr std::size_t kMostOpened = 8;

/// Tells a file from what stood under its name before.
std::string identity_of(const std::string& path) {
  struct stat status {};
  if (path.empty() || ::stat(path.c_str(), &status) != 0) return "-";
  return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) + ":" +
         std::to_string(status.st_size) + ":" + std::to_string(status.st_mtim.tv_sec) + "." +
         std::to_string(status.st_mtim.tv_nsec) + ":" + std::to_string(status.st_ctim.tv_sec) +
         "." + std::to_string(status.st_ctim.tv_nsec);
}

}  // namespace

std::shared_ptr<LoadedAdapter> AdapterStore::open(const std::string& given) {
  const AdapterPath path = resolve_adapter(given);
  const std::string identity =
      path.weights + "\n" + identity_of(path.weights) + "\n" + identity_of(path.config);
  const auto found = std::ranges::find(entries_, identity, &Entry::identity);
  if (found != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, found);
    return entries_.front().adapter;
  }
  AdapterFile file = AdapterFile::open(given);
  AdapterMatch match = match_adapter(file, targets_);
  std::string sha256 = file.content_hash();
  auto adapter = std::make_shared<LoadedAdapter>(
      LoadedAdapter{std::move(file), std::move(sha256), std::move(match), {}});
  entries_.push_front({identity, adapter});
  if (entries_.size() > kMostOpened) entries_.pop_back();
  return adapter;
}

}  // namespace ernie_image
