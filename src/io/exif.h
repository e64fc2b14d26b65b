// The one EXIF block this program writes, a UserComment, and the one entry that it reads.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace ernie_image {

/// A TIFF structure with the comment (UTF-8) as Exif.Photo.UserComment, without the "Exif\0\0" that
/// JPEG puts before it. Throws Error(invalid_argument) if `comment` is not UTF-8.
std::string exif_with_user_comment(std::string_view comment);

/// Orientation, 1 (upright) to 8, of such a structure; 1 where it has none or is damaged.
int exif_orientation(std::span<const std::byte> tiff);

}  // namespace ernie_image
