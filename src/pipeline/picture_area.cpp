#include "pipeline/picture_area.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "sampling/inpaint.h"

namespace ernie_image {
namespace {

/// The box of rows of `channels` bytes a pixel.
std::vector<std::uint8_t> cropped(const std::vector<std::uint8_t>& rows, std::ptrdiff_t width_px,
                                  std::ptrdiff_t channels, const PixelBox& box) {
  std::vector<std::uint8_t> result;
  for (std::ptrdiff_t y = box.top; y < box.top + box.height; ++y) {
    const auto row = rows.begin() + channels * (y * width_px + box.left);
    result.insert(result.end(), row, row + channels * box.width);
  }
  return result;
}

Image cropped(const Image& image, const PixelBox& box) {
  return {box.width, box.height, cropped(image.rgb, image.width_px, 3, box)};
}

Mask cropped_mask(const PictureInput& picture, const PixelBox& box) {
  return {box.width, box.height, cropped(picture.mask, picture.image.width_px, 1, box)};
}

}  // namespace

PixelBox picture_area(const Request& request) {
  const PictureInput& picture = request.picture;
  const int width = picture.image.width_px, height = picture.image.height_px;
  const PixelBox box = masked_box(picture.mask, width, height, *picture.area_padding_px);
  if (box.width == 0) return box;
  return with_proportions(box, width, height, request.width_px, request.height_px);
}

Request area_request(const Request& request, const PixelBox& area) {
  Request part = request;
  PictureInput& picture = part.picture;
  const int width = request.width_px, height = request.height_px;
  picture.image = resized(cropped(request.picture.image, area), width, height, Fit::stretch);
  picture.mask = resized(cropped_mask(request.picture, area), width, height, Fit::stretch).values;
  picture.area_padding_px.reset();
  picture.puts_back = false;  // what the mask keeps is put back unscaled
  return part;
}

Image with_area(const Request& request, const PixelBox& area, const Image& drawn) {
  const PictureInput& picture = request.picture;
  Image part = resized(drawn, area.width, area.height, Fit::stretch);
  put_back(part, cropped(picture.image, area), cropped_mask(picture, area).values);
  Image result = picture.image;
  for (std::ptrdiff_t y = 0; y < area.height; ++y) {
    const auto row = part.rgb.begin() + 3 * y * area.width;
    std::copy(row, row + 3 * area.width,
              result.rgb.begin() + 3 * ((area.top + y) * result.width_px + area.left));
  }
  return result;
}

}  // namespace ernie_image
