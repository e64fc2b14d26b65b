// A picture to begin with: how what people bring becomes part of a request, and what is kept of it.
#pragma once

#include <optional>
#include <string>

#include "ernie_image/request.h"
#include "io/fill_image.h"
#include "io/json_reader.h"
#include "io/mask.h"
#include "io/resize_image.h"

namespace ernie_image {

/// How a picture and a mask that people bring become those of a request.
struct PictureHandling {
  Fit fit = Fit::crop;
  double mask_blur_px = 0;  ///< of the mask at its final size
  bool invert_mask = false;
  Margins outpaint{};  ///< of the picture as it was given; they are drawn anew
  Fill fill = Fill::original;
  /// Draw only what is around the mask, and so much beside it, in pixels of the picture.
  std::optional<int> area_padding_px{};
};

inline constexpr int kMaxAreaPaddingPx = 4096;
inline constexpr int kAreaPaddingPx = 32;  ///< unless said otherwise

/// What is known of a picture and a mask that are not kept with what was made from them.
struct PictureUse {
  std::string sha256;       ///< `picture_hash`; empty: there is no picture
  std::string mask_sha256;  ///< `mask_hash`; empty: there is no mask
  PictureHandling handling;
};

/// With the strength of `picture`, in a form that records and stored jobs share.
nlohmann::json picture_use_json(const PictureUse& use, const PictureInput& picture);
/// The reverse. Throws JsonError.
PictureUse read_picture_use(const JsonReader& reader, PictureInput& picture);

// In this order:

/// The picture with what is added around it, and the mask of all of it. A mask must have the
/// picture's proportions. Throws Error(invalid_argument).
void prepare_canvas(Image& image, std::optional<Mask>& mask, const PictureHandling& handling);

/// Where the request leaves a side open, it follows from the picture's proportions; where it leaves
/// both, the picture keeps its size, or is made smaller until it has no more pixels than
/// `defaults`, the model's own size. An area is made as large as that. In multiples of
/// `multiple_px`.
void choose_size(Request& request, const Image& image, const std::optional<Mask>& mask,
                 const PictureHandling& handling, int multiple_px, const Request& defaults);

/// Puts both into the request, scaled to its size; with an area as they are.
void put_picture_into(Request& request, const Image& image, const std::optional<Mask>& mask,
                      const PictureHandling& handling);

/// SHA-256, hex, of the size and the pixels: what a picture made from it keeps of it.
std::string picture_hash(const Image& image);
/// Likewise of its mask, a byte a pixel.
std::string mask_hash(const PictureInput& picture);

}  // namespace ernie_image
