// Pictures scaled to the size that a model works at.
#pragma once

#include <array>
#include <string_view>

#include "ernie_image/image.h"

namespace ernie_image {

/// How a picture of other proportions fills the size that is wanted.
enum class Fit {
  stretch,  ///< its proportions change
  crop,     ///< what stands over is cut off, alike on both sides
  pad,      ///< all of it is there, and its edge repeated beside it
};

/// In the order of the enumerators; `pad` is called "fit".
constexpr std::array<std::string_view, 3> names_of(Fit) { return {"stretch", "crop", "fit"}; }

enum class Filter {
  lanczos,   ///< of 3 lobes
  triangle,  ///< never beyond the values that are there
};

/// To `width_px` x `height_px`, with the filter widened where it shrinks, as PIL has it.
Image resized(const Image& image, int width_px, int height_px, Fit fit,
              Filter filter = Filter::lanczos);

}  // namespace ernie_image
