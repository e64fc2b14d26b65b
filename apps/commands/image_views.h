// Ways to look at a small picture: enlarged beside itself, or in the terminal.
#pragma once

#include <string>

#include "ernie_image/pipeline.h"

namespace ernie_image {

/// The picture and, to its right, a copy enlarged 6 times with hard pixel edges (less for pictures
/// whose copy would be longer than 8192 pixels).
Image beside_enlarged(const Image& image);

/// Lines of half blocks in 24-bit colour, two pixel rows a line; a picture wider than `columns` is
/// averaged down to them.
std::string half_blocks(const Image& image, int columns);

}  // namespace ernie_image
