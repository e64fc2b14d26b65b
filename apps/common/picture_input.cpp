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

Image read_image(const std::string& file) {
  if (file == "-") {
    const std::vector<char> bytes = read_stdin();
    return read_picture(std::as_bytes(std::span(bytes)), "standard input");
  }
  return read_picture(open_file(file).bytes, file);
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
  add_choice(app, "--resize", flags.fit, flags,
             "a picture of other proportions: change them, cut off (default), or repeat its edge");
}

void check_picture_flags(const PictureFlags& flags) {
  if (flags.needs_picture && flags.file.empty())
    usage_error("--strength, --strength-mode and --resize need --image FILE");
}

void read_picture_into(Request& request, const PictureFlags& flags, const ModelInfo& info) {
  if (flags.file.empty()) return;
  const Image image = read_image(flags.file);
  choose_size(request, image, info);
  check_size(request, info);
  request.picture.image = resized(image, request.width_px, request.height_px, flags.fit);
}

std::string picture_hash(const Image& image) {
  std::string content =
      std::to_string(image.width_px) + "x" + std::to_string(image.height_px) + ":";
  content.append(image.rgb.begin(), image.rgb.end());
  return sha256_hex(content);
}

}  // namespace ernie_image
