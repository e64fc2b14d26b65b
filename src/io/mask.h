// Where a picture is drawn anew.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/resize_image.h"

namespace ernie_image {

struct Mask {
  int width_px = 0;
  int height_px = 0;
  std::vector<std::uint8_t> values;  ///< row-major; 0 keeps, 255 draws anew, between them is both
};

struct PixelBox {
  int left = 0, top = 0, width = 0, height = 0;
};

/// What of a mask is not 0, and `padding` pixels around it; without a width if all is 0.
PixelBox masked_box(std::span<const std::uint8_t> mask, int width_px, int height_px, int padding);

/// The box grown within the picture towards the proportions of `width` x `height`.
PixelBox with_proportions(const PixelBox& box, int width_px, int height_px, int width, int height);

void invert(Mask& mask);

/// As `resized` of a picture, but with a triangle in place of Lanczos' filter, which overshoots.
Mask resized(const Mask& mask, int width_px, int height_px, Fit fit);

inline constexpr double kMaxBlurPx = 256;

/// Edges made soft by a Gaussian of that standard deviation, at most kMaxBlurPx, cut off at 2.5 of
/// them as A1111 has it; what is beyond the picture is like its edge. Where all is 0 or 255 within
/// that reach it stays so.
Mask blurred(const Mask& mask, double sigma_px);

}  // namespace ernie_image
