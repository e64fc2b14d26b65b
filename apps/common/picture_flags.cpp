#include "common/picture_flags.h"

#include <iostream>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "common/exit_code.h"
#include "common/parse_values.h"
#include "core/enum_names.h"
#include "io/file_view.h"
#include "io/picture_reader.h"
#include "request/request.h"

namespace ernie_image {
namespace {

/// Standard input, or one byte more than a picture may have of it.
std::vector<char> read_stdin() {
  std::vector<char> bytes(kMaxPictureBytes + 1);
  std::cin.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(std::cin.gcount()));
  return bytes;
}

/// What `read` makes of the file of a flag, or of standard input.
template <typename Read>
auto read_given(const std::string& flag, const std::string& file, Read read) {
  return naming_flag(flag, [&] {
    if (file == "-") {
      const std::vector<char> bytes = read_stdin();
      return read(std::as_bytes(std::span(bytes)), "standard input");
    }
    return read(open_file(file).bytes, file);
  });
}

std::vector<int> parse_four(const std::string& flag, const std::string& text,
                            const std::string& names) {
  std::vector<int> values;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');)
    values.push_back(static_cast<int>(parse_integer(flag, part, 0, kMaxSidePx)));
  if (values.size() != 4) usage_error(flag + ": " + text + " is not four numbers: " + names);
  return values;
}

/// "0,64,0,64"
Margins parse_margins(const std::string& text) {
  const std::vector<int> sides = parse_four("--outpaint", text, "left, top, right, bottom");
  return {sides[0], sides[1], sides[2], sides[3]};
}

/// "300,120,96,96"
Box parse_box(const std::string& text) {
  const std::vector<int> sides = parse_four("--boxes", text, "left, top, width, height");
  return {sides[0], sides[1], sides[2], sides[3]};
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
        flags.has_strength = true;
      },
      0, 1,
      "how much of the picture, or of --boxes, is drawn anew: near 0 little, 1 all; default 0.6");
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
  app.add_option_function<std::string>(
         "--outpaint",
         [&](const std::string& text) {
           flags.handling.outpaint = parse_margins(text);
           flags.needs_picture = true;
         },
         "pixels to add to the left, above, to the right and below, and to draw there")
      ->type_name("L,T,R,B");
  add_choice(
      app, "--fill", flags.handling.fill, flags,
      "what lies where it is drawn anew, before that: what was there (default), noise, or of "
      "what is kept its mirror image or edge");
  app.add_option_function<std::string>(
         "--inpaint-area",
         [&](const std::string& text) {
           if (text == "masked") flags.handling.area_padding_px = flags.padding_px;
           flags.needs_mask = true;
         },
         "what is drawn: the whole picture (default), or only what is masked, as large as the "
         "model can, and put back scaled")
      ->check(CLI::IsMember({"whole", "masked"}).description(""))
      ->type_name("whole|masked");
  add_integer_flag(
      app, "--padding", flags.padding_px, 0, kMaxAreaPaddingPx,
      "pixels of the picture beside the masked part that are drawn with it; default 32");
  app.add_option_function<std::vector<std::string>>(
         "--boxes",
         [&](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) request.boxes.push_back(parse_box(text));
         },
         "a part of the result, such as a face, that is drawn once more by itself, with as many "
         "pixels as the whole, and put back; repeat it for several; with --image nothing else is "
         "drawn")
      ->allow_extra_args(false)
      ->type_name("X,Y,W,H");
}

void check_picture_flags(const Request& request, PictureFlags& flags) {
  if (flags.handling.area_padding_px) flags.handling.area_padding_px = flags.padding_px;
  const bool has_loose_strength = flags.has_strength && request.boxes.empty();
  if ((flags.needs_picture || has_loose_strength) && flags.file.empty())
    usage_error("--strength, --strength-mode, --resize, --outpaint and --fill need --image FILE");
  if (!flags.mask.empty() && flags.file.empty()) usage_error("--mask needs --image FILE");
  if (flags.needs_mask && flags.mask.empty() && !flags.handling.outpaint.any())
    usage_error("--mask-blur, --invert-mask and --inpaint-area need --mask FILE");
  if (flags.mask == "-" && flags.file == "-")
    usage_error("only one of --image and --mask can be standard input");
}

PictureOfFlags::PictureOfFlags(const PictureFlags& flags) : handling_(flags.handling) {
  if (flags.file.empty()) return;
  image_ = read_given("--image", flags.file, [](auto bytes, const std::string& name) {
    return read_picture(bytes, name);
  });
  if (!flags.mask.empty()) {
    mask_ = read_given("--mask", flags.mask,
                       [](auto bytes, const std::string& name) { return read_mask(bytes, name); });
  }
  prepare_canvas(*image_, mask_, handling_);
}

void PictureOfFlags::put_into(Request& request, const ModelInfo& info) const {
  if (!image_) return;
  choose_size(request, *image_, mask_, handling_, info.size_multiple_px, info.defaults);
  check_sides(request, info.size_multiple_px);  // before the picture is scaled to them
  put_picture_into(request, *image_, mask_, handling_);
}

}  // namespace ernie_image
