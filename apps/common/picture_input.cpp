#include "common/picture_input.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "core/enum_names.h"
#include "ernie_image/error.h"
#include "io/picture_reader.h"
#include "io/sha256.h"

namespace ernie_image {
namespace {

int to_multiple(double side, int multiple) {
  return std::max(1, static_cast<int>(std::lround(side / multiple))) * multiple;
}

/// But for the rounding of one side.
void check_proportions(const Mask& mask, const Image& image) {
  const auto product = [](int a, int b) { return std::int64_t{a} * b; };
  const std::int64_t difference =
      product(mask.width_px, image.height_px) - product(mask.height_px, image.width_px);
  if (std::abs(difference) <= std::max(image.width_px, image.height_px)) return;
  throw Error(ErrorKind::invalid_argument,
              "the mask has " + std::to_string(mask.width_px) + "x" +
                  std::to_string(mask.height_px) + " pixels, the picture " +
                  std::to_string(image.width_px) + "x" + std::to_string(image.height_px) +
                  "; it must have the same proportions");
}

/// Of what is kept next to what is added; one latent.
constexpr int kOverlapPx = 16;

std::string hash_of_pixels(const Image& image, std::span<const std::uint8_t> values) {
  std::string content =
      std::to_string(image.width_px) + "x" + std::to_string(image.height_px) + ":";
  content.append(values.begin(), values.end());
  return sha256_hex(content);
}

}  // namespace

nlohmann::json picture_use_json(const PictureUse& use, const PictureInput& picture) {
  nlohmann::json result = {{"sha256", use.sha256},
                           {"strength", picture.strength},
                           {"strength_mode", name_of(picture.strength_mode)},
                           {"resize", name_of(use.handling.fit)}};
  if (use.mask_sha256.empty()) return result;
  const PictureHandling& handling = use.handling;
  nlohmann::json mask = {{"sha256", use.mask_sha256},
                         {"blur", handling.mask_blur_px},
                         {"inverted", handling.invert_mask}};
  const Margins& margins = handling.outpaint;
  if (margins.any()) mask["outpaint"] = {margins.left, margins.top, margins.right, margins.bottom};
  if (handling.fill != Fill::original) mask["fill"] = name_of(handling.fill);
  if (handling.area_padding_px) mask["area_padding"] = *handling.area_padding_px;
  result["mask"] = std::move(mask);
  return result;
}

PictureUse read_picture_use(const JsonReader& reader, PictureInput& picture) {
  PictureUse use;
  use.sha256 = reader.text("sha256");
  picture.strength = reader.number("strength", 0, 1);
  picture.strength_mode = reader.choice<StrengthMode>("strength_mode");
  use.handling.fit = reader.choice<Fit>("resize");
  if (!reader.has("mask")) return use;
  const JsonReader mask = reader.required_object("mask");
  use.mask_sha256 = mask.text("sha256");
  use.handling.mask_blur_px = mask.number("blur", 0, kMaxBlurPx);
  use.handling.invert_mask = mask.boolean("inverted");
  use.handling.fill = mask.choice("fill", Fill::original);
  if (mask.has("outpaint")) {
    const auto sides = mask.integers("outpaint", {}, 0, kMaxSidePx);
    if (sides.size() != 4) mask.fail("outpaint", "four numbers: left, top, right, bottom");
    const auto side = [&](std::size_t i) { return static_cast<int>(sides[i]); };
    use.handling.outpaint = {side(0), side(1), side(2), side(3)};
  }
  if (mask.has("area_padding"))
    use.handling.area_padding_px = mask.small("area_padding", 0, kMaxAreaPaddingPx);
  return use;
}

void prepare_canvas(Image& image, std::optional<Mask>& mask, const PictureHandling& handling) {
  if (mask) {
    check_proportions(*mask, image);
    if (handling.outpaint.any() || handling.area_padding_px)
      mask = resized(*mask, image.width_px, image.height_px, Fit::stretch);
    if (handling.invert_mask) invert(*mask);
  }
  const Margins& margins = handling.outpaint;
  if (!margins.any()) return;
  const double width = double(image.width_px) + margins.left + margins.right;
  const double height = double(image.height_px) + margins.top + margins.bottom;
  if (width * height > kMaxPicturePixels) {
    throw Error(ErrorKind::invalid_argument, "the picture with what is added has more than " +
                                                 std::to_string(kMaxPicturePixels >> 20) +
                                                 " million (x 1048576) pixels");
  }
  mask = extended(mask.value_or(Mask{}), image.width_px, image.height_px, margins, kOverlapPx);
  image = extended(image, margins);
}

void choose_size(Request& request, const Image& image, const std::optional<Mask>& mask,
                 const PictureHandling& handling, int multiple_px, const Request& defaults) {
  double width = image.width_px, height = image.height_px, scale = 1;
  const double most = static_cast<double>(defaults.width_px) * defaults.height_px;
  if (handling.area_padding_px && mask) {
    const PixelBox box =
        masked_box(mask->values, image.width_px, image.height_px, *handling.area_padding_px);
    if (box.width > 0) width = box.width, height = box.height;
    scale = std::sqrt(most / (width * height));
  } else {
    scale = std::min(1.0, std::sqrt(most / (width * height)));
  }
  if (request.width_px == 0 && request.height_px == 0) {
    request.width_px = to_multiple(width * scale, multiple_px);
    request.height_px = to_multiple(height * scale, multiple_px);
  } else if (request.width_px == 0) {
    request.width_px = to_multiple(request.height_px * width / height, multiple_px);
  } else if (request.height_px == 0) {
    request.height_px = to_multiple(request.width_px * height / width, multiple_px);
  }
}

void put_picture_into(Request& request, const Image& image, const std::optional<Mask>& mask,
                      const PictureHandling& handling) {
  PictureInput& picture = request.picture;
  const bool is_scaled = !handling.area_padding_px;
  picture.image =
      is_scaled ? resized(image, request.width_px, request.height_px, handling.fit) : image;
  picture.area_padding_px = handling.area_padding_px;
  if (!mask) return;
  const Mask whole =
      is_scaled ? resized(*mask, request.width_px, request.height_px, handling.fit) : *mask;
  fill(picture.image, whole, handling.fill);
  picture.mask = blurred(whole, handling.mask_blur_px).values;
}

std::string picture_hash(const Image& image) { return hash_of_pixels(image, image.rgb); }

std::string mask_hash(const PictureInput& picture) {
  return hash_of_pixels(picture.image, picture.mask);
}

}  // namespace ernie_image
