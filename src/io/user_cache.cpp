#include "io/user_cache.h"

#include <cstdlib>

#include "io/file_view.h"

namespace ernie_image {

std::string user_cache_path(const std::string& name) {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && cache[0] == '/') return join_path(cache, "ernie-image/" + name);
  const char* const home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return join_path(home, ".cache/ernie-image/" + name);
  return "";
}

}  // namespace ernie_image
