// Where pictures and other results go: names of several images, and checks before any work.
#pragma once

#include <string>
#include <vector>

namespace ernie_image {

/// The paths of `count` images. `%d` or `%03d` in the file name becomes the image's number from 1;
/// `%%` is a percent sign; without a number the second image and later get "-2", "-3" before the
/// extension. Throws Error(invalid_argument) for any other use of `%`.
std::vector<std::string> output_paths(const std::string& pattern, int count);

/// Throws Error(invalid_argument | not_found | io) unless a file could be written there: the folder
/// exists and may be written to, and `path` is not a folder itself.
void require_writable(const std::string& flag, const std::string& path);

}  // namespace ernie_image
