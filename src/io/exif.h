// The EXIF block that this program writes, and what it reads of anybody's.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "io/image_file.h"

namespace ernie_image {

/// A TIFF structure, without the "Exif\0\0" that JPEG puts before it: "parameters" as UserComment;
/// "ernie_image" and the quality as MakerNote, which is left out where all would be more than
/// `max_bytes`. Empty if there is neither. Throws Error(invalid_argument) for what is not UTF-8.
std::string exif_of(const ImageMetadata& metadata, int quality, std::size_t max_bytes);

struct ExifMetadata {
  ImageMetadata metadata;
  int quality = 0;  ///< 0: not said
};

/// The reverse. Comments of other programs are read too: UTF-16 of either byte order, ASCII, UTF-8.
/// What is damaged counts as absent.
ExifMetadata metadata_of_exif(std::span<const std::byte> tiff);

/// Orientation, 1 (upright) to 8, of such a structure; 1 where it has none or is damaged.
int exif_orientation(std::span<const std::byte> tiff);

}  // namespace ernie_image
