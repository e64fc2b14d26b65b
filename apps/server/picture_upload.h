// Pictures that come with a request: in forms, or in JSON as base64.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/picture_input.h"
#include "jobs/job_queue.h"
#include "server/memory_budget.h"

namespace ernie_image {

struct Exchange;

/// Of routes that take pictures.
inline constexpr std::size_t kMaxUploadBytes = std::size_t{24} << 20;
/// Of one picture, before anything of it is decoded.
inline constexpr std::size_t kMaxUploadPixels = std::size_t{16} << 20;
/// Of masks: less than kMaxBlurPx, which takes its time on a large picture.
inline constexpr double kMaxUploadBlurPx = 64;

/// Files as they were sent, not looked at yet; empty for none.
struct Upload {
  Bytes image;
  Bytes mask;
  std::shared_ptr<MemoryBudget::Share> memory;  ///< of the request
};

/// A request with its files apart.
struct UploadRequest {
  JsonReader fields;
  Upload upload;
};

/// Of a form with the parts `image` or `image[]` and `mask`, whose other parts become fields; or of
/// JSON with `image` or `images` and `mask`. Throws ApiError, JsonError.
UploadRequest upload_request(const Exchange& exchange);

/// Base64, with or without the "data:image/png;base64," of a data URL. Throws ApiError(400) for the
/// field `name`.
Bytes picture_bytes(const nlohmann::json& value, const std::string& name);

struct GivenPicture {
  Image image;
  std::optional<Mask> mask;
  PictureHandling handling;
  double strength = PictureInput{}.strength;
  StrengthMode strength_mode = StrengthMode::diffusers;
  std::shared_ptr<MemoryBudget::Share> memory{};  ///< of the request
};

/// Here and below one picture at a time is worked on, and what it takes afterwards is taken from
/// the upload's memory: small files of many pixels fill nothing. `image_name`: the field, for
/// errors. Throws ApiError: 400, 503.
GivenPicture decoded_upload(const Upload& upload, const std::string& image_name = "image");

/// Their names, of requests of our own kind and OpenAI's.
inline constexpr std::array<std::string_view, 12> kPictureFields = {
    "image",     "images",      "mask",     "strength", "strength_mode", "resize",
    "mask_blur", "invert_mask", "outpaint", "fill",     "inpaint_area",  "padding"};

/// All but the pictures, and then `prepare`. Throws JsonError, ApiError.
void read_picture_fields(const JsonReader& fields, GivenPicture& given);

/// Adds to picture and mask what `handling` says, before a size is chosen. Throws ApiError: 400,
/// 503.
void prepare(GivenPicture& given);

/// Gives the picture and what is to be done with it to a request that has its final size. Throws
/// ApiError(400).
void use_picture(JobRequest& request, const GivenPicture& given);

/// Takes the pixels out of a request.
PictureInput taken_pixels(JobRequest& request);
/// As files of its job.
JobInputs inputs_of(const PictureInput& picture);

}  // namespace ernie_image
