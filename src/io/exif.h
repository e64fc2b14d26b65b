// The one EXIF block this program writes: a UserComment.
#pragma once

#include <string>
#include <string_view>

namespace ernie_image {

/// A TIFF structure with the comment (UTF-8) as Exif.Photo.UserComment, without the "Exif\0\0" that
/// JPEG puts before it. Throws Error(invalid_argument) if `comment` is not UTF-8.
std::string exif_with_user_comment(std::string_view comment);

}  // namespace ernie_image
