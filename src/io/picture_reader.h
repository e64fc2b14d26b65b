// Pictures that people bring: PNG, JPEG or WebP, recognised by what they contain. All of it is
// hostile input.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "ernie_image/image.h"
#include "io/mask.h"

namespace ernie_image {

/// Of a file, and of the pixels in it. Both are checked before anything is decoded.
inline constexpr std::size_t kMaxPictureBytes = std::size_t{128} << 20;
inline constexpr std::size_t kMaxPicturePixels = std::size_t{64} << 20;

/// 8-bit RGB, upright by the EXIF orientation. 16 bits become 8, palettes and greys RGB; what is
/// transparent shows white. Throws Error(corrupt_file) for a file that is damaged, cut short or
/// none of the three, Error(unsupported) for one that is too large, moves, or is CMYK; `name` is
/// how the message calls it. `max_pixels` may be less than kMaxPicturePixels.
Image read_picture(std::span<const std::byte> bytes, const std::string& name,
                   std::size_t max_pixels = kMaxPicturePixels);

/// A picture that says where another is drawn anew, with the same limits and errors: what is
/// transparent, if anything is; else what is white.
Mask read_mask(std::span<const std::byte> bytes, const std::string& name,
               std::size_t max_pixels = kMaxPicturePixels);

}  // namespace ernie_image
