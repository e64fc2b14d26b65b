// The adapters that were opened last, for a model that is asked with some of them again and again.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>

#include "adapters/adapter_attachment.h"

namespace ernie_image {

class AdapterStore {
 public:
  /// `targets` is what the adapters are matched with; it must outlive the store.
  explicit AdapterStore(const AdapterTargets& targets) : targets_(targets) {}

  /// Opens the adapter, or gives what was made of the same file before. A file that has changed on
  /// disk is opened anew. Throws Error as AdapterFile::open and match_adapter do.
  std::shared_ptr<LoadedAdapter> open(const std::string& path);

 private:
  struct Entry {
    std::string identity;  // of the files on disk
    std::shared_ptr<LoadedAdapter> adapter;
  };

  const AdapterTargets& targets_;
  std::list<Entry> entries_;  // the last used first
};

}  // namespace ernie_image
