// Enhanced prompts on disk, so that the same question is answered at once and with the same words.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "ernie_image/enhance.h"

namespace ernie_image {

/// One small JSON file an entry, named by the SHA-256 of its recipe: everything that decides the
/// text. Any number of processes may use one directory. A cache that cannot be read or written is
/// one that holds nothing: no function here throws for it.
class EnhanceCache {
 public:
  static constexpr std::size_t kMaxEntries = 10000;

  /// The directory is made when the first entry is stored.
  explicit EnhanceCache(std::string directory, std::size_t max_entries = kMaxEntries)
      : directory_(std::move(directory)), max_entries_(max_entries) {}

  /// Nothing if there is no entry, or none that is whole, of this format and for this very recipe.
  /// The times of a found entry are 0.
  std::optional<EnhancedPrompt> find(const nlohmann::json& recipe) const;

  /// Beyond the largest number of entries the oldest tenth goes.
  void store(const nlohmann::json& recipe, const EnhancedPrompt& enhanced) const;

  std::string path_of(const nlohmann::json& recipe) const;

 private:
  void remove_oldest() const;

  std::string directory_;
  std::size_t max_entries_;
};

/// $XDG_CACHE_HOME/ernie-image/enhanced, else ~/.cache/ernie-image/enhanced; empty if the
/// environment names neither.
std::string default_enhance_cache_directory();

}  // namespace ernie_image
