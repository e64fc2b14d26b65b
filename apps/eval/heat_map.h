// Where two pictures differ, as a picture.
#pragma once

#include "ernie_image/pipeline.h"

namespace ernie_image {

/// The largest difference of a pixel's three channels, from black (none) over purple and orange to
/// pale yellow (the largest of the picture). The sizes must be equal.
Image heat_map(const Image& a, const Image& b);

/// The colours of `heat_map` from none to largest, as a CSS gradient.
inline constexpr const char* kHeatGradient =
    "linear-gradient(to right,#000004,#420a68,#932667,#dd513a,#fca50a,#fcffa4)";

}  // namespace ernie_image
