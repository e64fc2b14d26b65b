// Where this program keeps what it could find out again: one folder of the user's.
#pragma once

#include <string>

namespace ernie_image {

/// `name` in $XDG_CACHE_HOME/ernie-image, else in ~/.cache/ernie-image; empty if the environment
/// names neither.
std::string user_cache_path(const std::string& name);

}  // namespace ernie_image
