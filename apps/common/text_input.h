// Text from a file or standard input.
#pragma once

#include <string>

namespace ernie_image {

/// The whole content of the file; "-" is standard input. Throws Error(not_found | io), whose
/// message begins with the flag that named the file.
std::string read_text(const std::string& flag, const std::string& path);

/// The prompt that standard input is: all of it but the last line end. Throws
/// Error(invalid_argument) if that is nothing.
std::string prompt_of_input();

}  // namespace ernie_image
