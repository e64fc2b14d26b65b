// Text from a file or standard input.
#pragma once

#include <string>

namespace ernie_image {

/// The whole content of the file; "-" is standard input. Throws Error(not_found | io).
std::string read_text(const std::string& path);

}  // namespace ernie_image
