#include "server/picture_upload.h"

#include <algorithm>
#include <mutex>
#include <span>
#include <utility>

#include "io/image_file.h"
#include "io/picture_reader.h"
#include "server/api_error.h"
#include "server/base64.h"

namespace ernie_image {
namespace {

using nlohmann::json;

Bytes png_file(const Image& image) {
  const std::vector<std::uint8_t> bytes = encode_image(image, {ImageFormat::png, 100}, {});
  return {bytes.begin(), bytes.end()};
}

/// Held by whoever works on pixels.
std::mutex pixels_mutex;

/// Four numbers; in a form as text, "0,64,0,64".
Margins margins_of(const JsonReader& fields) {
  constexpr const char* kExpected = "must be four whole numbers: left, top, right, bottom";
  const json& value = *fields.find("outpaint");
  const json sides =
      value.is_string() ? json::parse("[" + value.get<std::string>() + "]", nullptr, false) : value;
  if (!sides.is_array() || sides.size() != 4) refuse_field("outpaint", kExpected);
  int pixels[4];
  for (std::size_t i = 0; i < 4; ++i) {
    const std::optional<std::int64_t> side = whole_number(sides[i]);
    if (!side || *side < 0 || *side > kMaxSidePx) refuse_field("outpaint", kExpected);
    pixels[i] = static_cast<int>(*side);
  }
  return {pixels[0], pixels[1], pixels[2], pixels[3]};
}

/// Three bytes of the picture and one of the mask, here and in the request.
void take_memory(const GivenPicture& given, std::size_t pixels) {
  constexpr std::size_t kBytesOfPixel = 8;
  given.memory->take(kBytesOfPixel * pixels);
}

/// An error of the reader as one of the request.
template <typename Read>
auto read_upload(const Bytes& bytes, const std::string& name, Read read) {
  try {
    return read(std::as_bytes(std::span(bytes)));
  } catch (const Error& error) {
    throw ApiError(400, error.what(), name, "invalid_image");
  }
}

}  // namespace

Bytes picture_bytes(const json& value, const std::string& name) {
  if (!value.is_string()) refuse_field(name, "must be a picture in base64, or a data URL");
  std::string_view text = value.get_ref<const std::string&>();
  if (text.starts_with("http:") || text.starts_with("https:"))
    refuse_field(name, "must be in the request itself, in base64: this server fetches nothing");
  if (text.starts_with("data:")) {
    const std::size_t comma = text.find(',');
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  std::optional<std::string> bytes = base64_decoded(text);
  if (!bytes) refuse_field(name, "must be a picture in base64, or a data URL");
  return *std::move(bytes);
}

GivenPicture decoded_upload(const Upload& upload, const std::string& image_name) {
  const std::string mask_name = "mask";
  if (upload.image.empty()) refuse_field(image_name, "is required");
  const std::lock_guard lock(pixels_mutex);
  GivenPicture given;
  given.image = read_upload(upload.image, image_name, [&](auto bytes) {
    return read_picture(bytes, image_name, kMaxUploadPixels);
  });
  if (!upload.mask.empty()) {
    given.mask = read_upload(upload.mask, mask_name, [&](auto bytes) {
      return read_mask(bytes, mask_name, kMaxUploadPixels);
    });
  }
  given.memory = upload.memory;
  take_memory(given,
              std::max(given.image.rgb.size() / 3, given.mask ? given.mask->values.size() : 0));
  return given;
}

void read_picture_fields(const JsonReader& fields, GivenPicture& given) {
  if (fields.has("strength")) given.strength = fields.number("strength", 0, 1);
  if (given.strength == 0) refuse_field("strength", "must be above 0");
  given.strength_mode = fields.choice("strength_mode", given.strength_mode);
  PictureHandling& handling = given.handling;
  handling.fit = fields.choice("resize", handling.fit);
  if (fields.has("mask_blur"))
    handling.mask_blur_px = fields.number("mask_blur", 0, kMaxUploadBlurPx);
  handling.invert_mask = fields.boolean("invert_mask", handling.invert_mask);
  handling.fill = fields.choice("fill", handling.fill);
  if (fields.has("outpaint")) handling.outpaint = margins_of(fields);
  if (fields.choice("inpaint_area", "whole", {"whole", "masked"}) == "masked")
    handling.area_padding_px =
        static_cast<int>(fields.integer("padding", kAreaPaddingPx, 0, kMaxAreaPaddingPx));
  prepare(given);
}

void prepare(GivenPicture& given) {
  const bool has_mask = given.mask || given.handling.outpaint.any();
  if (given.handling.area_padding_px && !has_mask) refuse_field("mask", "is required for an area");
  const Margins& margins = given.handling.outpaint;
  const auto extended = [](int side, int before, int after) {
    return static_cast<std::uint64_t>(side) + static_cast<std::uint64_t>(before) +
           static_cast<std::uint64_t>(after);
  };
  const std::uint64_t pixels = extended(given.image.width_px, margins.left, margins.right) *
                               extended(given.image.height_px, margins.top, margins.bottom);
  if (pixels > kMaxUploadPixels) refuse_field("outpaint", "adds too many pixels");
  if (margins.any()) take_memory(given, pixels);
  const std::lock_guard lock(pixels_mutex);
  try {
    prepare_canvas(given.image, given.mask, given.handling);
  } catch (const Error& error) {
    throw ApiError(400, error.what(), "mask", "invalid_image");
  }
}

void use_picture(JobRequest& request, const GivenPicture& given) {
  const std::lock_guard lock(pixels_mutex);
  put_picture_into(request, given.image, given.mask, given.handling);
  request.picture.strength = given.strength;
  request.picture.strength_mode = given.strength_mode;
  request.picture_use.sha256 = picture_hash(request.picture.image);
  if (given.mask) request.picture_use.mask_sha256 = mask_hash(request.picture);
  request.picture_use.handling = given.handling;
}

PictureInput taken_pixels(JobRequest& request) {
  PictureInput picture;
  std::swap(picture.image, request.picture.image);
  std::swap(picture.mask, request.picture.mask);
  request.picture.area_padding_px.reset();  // `picture_use` has it
  return picture;
}

JobInputs inputs_of(const PictureInput& picture) {
  JobInputs inputs;
  if (picture.image.rgb.empty()) return inputs;
  inputs.image = png_file(picture.image);
  if (picture.mask.empty()) return inputs;
  Image grey{picture.image.width_px, picture.image.height_px, {}};
  grey.rgb.reserve(3 * picture.mask.size());
  for (const std::uint8_t value : picture.mask) grey.rgb.insert(grey.rgb.end(), 3, value);
  inputs.mask = png_file(grey);
  return inputs;
}

}  // namespace ernie_image
