// What lies where a picture is drawn anew, and beyond its edges.
#pragma once

#include <array>
#include <string_view>

#include "ernie_image/image.h"
#include "io/mask.h"

namespace ernie_image {

/// What lies below the masked part of a picture before it is drawn.
enum class Fill {
  original,  ///< what was there; beyond the picture its edge
  noise,     ///< random colours
  mirror,    ///< what is kept, mirrored at the nearest pixel of it
  edge,      ///< the nearest pixel that is kept
};

/// In the order of the enumerators.
constexpr std::array<std::string_view, 4> names_of(Fill) {
  return {"original", "noise", "mirror", "edge"};
}

/// Pixels to add at each side, none negative.
struct Margins {
  int left = 0, top = 0, right = 0, bottom = 0;

  bool any() const { return left != 0 || top != 0 || right != 0 || bottom != 0; }
  bool operator==(const Margins&) const = default;
};

/// The picture with its edge repeated around it.
Image extended(const Image& image, const Margins& margins);

/// The mask of such a picture: what is added is drawn anew, and of what was there the `overlap`
/// pixels next to it. An empty `mask` is one that keeps all of `width_px` x `height_px`.
Mask extended(const Mask& mask, int width_px, int height_px, const Margins& margins, int overlap);

/// Fills what the mask, of the same size, draws anew (128 and above). A mask that keeps nothing
/// leaves the picture as it is, but for noise.
void fill(Image& image, const Mask& mask, Fill how);

}  // namespace ernie_image
