// Drawing a part of a picture at the size that suits the model.
#pragma once

#include "ernie_image/pipeline.h"
#include "io/mask.h"

namespace ernie_image {

/// The part of a request's picture that is drawn. Without a width if its mask keeps all.
PixelBox picture_area(const Request& request);

/// A request for that part alone, as large as `request` says, whose size must be known.
Request area_request(const Request& request, const PixelBox& area);

/// What was drawn, in its place in the request's picture.
Image with_area(const Request& request, const PixelBox& area, const Image& drawn);

}  // namespace ernie_image
