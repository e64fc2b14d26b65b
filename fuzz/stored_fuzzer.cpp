// Files that the program wrote itself and that somebody else may have changed: the manifest of a
// quantised model, an enhanced prompt of the cache. The first byte says which.
#include <filesystem>
#include <fstream>
#include <string>

#include <unistd.h>

#include "enhance/enhance_cache.h"
#include "ernie_image/error.h"
#include "io/model_manifest.h"

namespace {

using namespace ernie_image;

/// In memory, removed at the end of the process.
class Folder {
 public:
  Folder() : path_("/dev/shm/ernie-image-fuzz-" + std::to_string(::getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_; }

 private:
  std::string path_;
};

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'm') {
    write(folder.path() + "/" + kManifestName, text);
    try {
      if (const auto manifest = ModelManifest::read(folder.path())) {
        damaged_files(folder.path(), *manifest);
        manifest->write(folder.path());
        if (!ModelManifest::read(folder.path())->is_same_job(*manifest)) std::abort();
      }
    } catch (const Error&) {
    }
  } else {
    const EnhanceCache cache(folder.path());
    const nlohmann::json recipe = {{"prompt", "a fox"}};
    write(cache.path_of(recipe), text);
    cache.find(recipe);  // throws nothing
  }
  return 0;
}
