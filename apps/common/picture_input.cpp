#include "common/picture_input.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "common/exit_code.h"
#include "core/enum_names.h"
#include "io/file_view.h"
#include "io/picture_reader.h"
#include "io/sha256.h"

namespace ernie_image {
namespace {

/// Standard input, or one byte more than a picture may have of it.
std::vector<char> read_stdin() {
  std::vector<char> bytes(kMaxPictureBytes + 1);
  std::cin.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(std::cin.gcount()));
  return bytes;
}

/// What `read` makes of a file, or of standard input.
template <typename Read>
auto read_given(const std::string& file, Read read) {
  if (file == "-") {
    const std::vector<char> bytes = read_stdin();
    return read(std::as_bytes(std::span(bytes)), "standard input");
  }
  return read(open_file(file).bytes, file);
}

int to_multiple(double side, int multiple) {
  return std::max(1, static_cast<int>(std::lround(side / multiple))) * multiple;
}

/// Fills in what the request leaves open of its size.
void choose_size(Request& request, const Image& image, const ModelInfo& info) {
  const int multiple = info.size_multiple_px;
  const double aspect = static_cast<double>(image.width_px) / image.height_px;
  if (request.width_px == 0 && request.height_px == 0) {
    const double most =
        static_cast<double>(info.defaults.width_px) * static_cast<double>(info.defaults.height_px);
    const double pixels = static_cast<double>(image.width_px) * image.height_px;
    const double scale = std::min(1.0, std::sqrt(most / pixels));
    request.width_px = to_multiple(image.width_px * scale, multiple);
    request.height_px = to_multiple(image.height_px * scale, multiple);
  } else if (request.width_px == 0) {
    request.width_px = to_multiple(request.height_px * aspect, multiple);
  } else if (request.height_px == 0) {
    request.height_px = to_multiple(request.width_px / aspect, multiple);
  }
}

/// Before the picture is scaled to it.
void check_size(const Request& request, const ModelInfo& info) {
  const int multiple = info.size_multiple_px;
  for (const int side : {request.width_px, request.height_px}) {
    if (side % multiple == 0 && side <= kMaxSidePx) continue;
    throw Error(ErrorKind::invalid_argument, "the size " + std::to_string(request.width_px) + "x" +
                                                 std::to_string(request.height_px) +
                                                 " does not divide by " + std::to_string(multiple) +
                                                 " or is above " + std::to_string(kMaxSidePx) +
                                                 "; give --width and --height");
  }
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

Mask prepared(const Mask& mask, const Request& request, const PictureHandling& handling) {
  Mask result = resized(mask, request.width_px, request.height_px, handling.fit);
  if (handling.invert_mask) invert(result);
  return blurred(result, handling.mask_blur_px);
}

std::string hash_of_pixels(const Image& image, std::span<const std::uint8_t> values) {
  std::string content =
      std::to_string(image.width_px) + "x" + std::to_string(image.height_px) + ":";
  content.append(values.begin(), values.end());
  return sha256_hex(content);
}

/// A flag whose values are the names of Enum, and which needs a picture.
template <Named Enum>
void add_choice(CLI::App& app, const std::string& name, Enum& target, PictureFlags& flags,
                const std::string& help) {
  const auto set = [&](const std::string& text) {
    target = from_name<Enum>(text).value();
    flags.needs_picture = true;
  };
  const auto names = names_of(Enum{});
  add_choice_flag(app, name, {names.begin(), names.end()}, set, help);
}

}  // namespace

void add_picture_flags(CLI::App& app, Request& request, PictureFlags& flags) {
  app.add_option("--image,-i", flags.file,
                 "a picture to begin with: PNG, JPEG or WebP; - is standard input")
      ->type_name("FILE");
  add_number_flag(
      app, "--strength",
      [&](double strength) {
        request.picture.strength = strength;
        flags.needs_picture = true;
      },
      0, 1, "how much of the picture is drawn anew: near 0 little, 1 all; default 0.6");
  add_choice(app, "--strength-mode", request.picture.strength_mode, flags,
             "whose way of counting steps; exact begins at noise of just that strength; default "
             "diffusers");
  add_choice(app, "--resize", flags.handling.fit, flags,
             "a picture of other proportions: change them, cut off (default), or repeat its edge");
  app.add_option(
         "--mask", flags.mask,
         "what of the picture is drawn anew: white in this picture of the same proportions, "
         "or transparent; the rest stays as it is to the byte")
      ->type_name("FILE");
  add_number_flag(
      app, "--mask-blur",
      [&](double blur) {
        flags.handling.mask_blur_px = blur;
        flags.needs_mask = true;
      },
      0, kMaxBlurPx, "soft edges of the mask, as a standard deviation in pixels; default 0");
  app.add_flag_function(
      "--invert-mask",
      [&](std::int64_t) {
        flags.handling.invert_mask = true;
        flags.needs_mask = true;
      },
      "draw anew what is black or opaque in the mask");
}

void check_picture_flags(const PictureFlags& flags) {
  if (flags.needs_picture && flags.file.empty())
    usage_error("--strength, --strength-mode and --resize need --image FILE");
  if (!flags.mask.empty() && flags.file.empty()) usage_error("--mask needs --image FILE");
  if (flags.needs_mask && flags.mask.empty())
    usage_error("--mask-blur and --invert-mask need --mask FILE");
  if (flags.mask == "-" && flags.file == "-")
    usage_error("only one of --image and --mask can be standard input");
}

void put_picture_into(Request& request, const Image& image, const std::optional<Mask>& mask,
                      const PictureHandling& handling, const ModelInfo& info) {
  if (mask) check_proportions(*mask, image);
  choose_size(request, image, info);
  check_size(request, info);
  request.picture.image = resized(image, request.width_px, request.height_px, handling.fit);
  if (mask) request.picture.mask = prepared(*mask, request, handling).values;
}

void read_picture_into(Request& request, const PictureFlags& flags, const ModelInfo& info) {
  if (flags.file.empty()) return;
  const Image image = read_given(flags.file, read_picture);
  std::optional<Mask> mask;
  if (!flags.mask.empty()) mask = read_given(flags.mask, read_mask);
  put_picture_into(request, image, mask, flags.handling, info);
}

std::string picture_hash(const Image& image) { return hash_of_pixels(image, image.rgb); }

std::string mask_hash(const PictureInput& picture) {
  return hash_of_pixels(picture.image, picture.mask);
}

}  // namespace ernie_image
