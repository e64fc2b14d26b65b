// Pictures that are drawn more than once: larger, and in parts.
#pragma once

#include <span>
#include <vector>

#include "ernie_image/pipeline.h"

namespace ernie_image {

/// The first of several runs: `request` without the others. Throws Error(invalid_argument) where
/// what is asked for besides needs a single run.
Request first_run(const Request& request);

/// Whether the first run has nothing to do: parts of a given picture are all that is drawn.
bool draws_boxes_only(const Request& request);

/// The second run of all pictures, without what they begin with, for its noise. The request has its
/// defaults.
Request large_request(const Request& request, int multiple_px);

/// The second run of one picture, `first` after the first; `noise` is that of all.
Request large_run(const Request& large, const Request& request, std::span<const float> noise,
                  int image, const Image& first);

/// Draws one box of one picture, with as many pixels as the first run has, whose size is known.
/// Throws Error(invalid_argument) for one outside of it.
Request box_run(const Request& request, int multiple_px, int image, const Box& box,
                const Image& picture);

/// A run of all pictures, and then further ones of single pictures, as one: times add up, and
/// `images` are the last.
Result joined(Result first, const std::vector<Result>& further, std::vector<Image> images);

}  // namespace ernie_image
