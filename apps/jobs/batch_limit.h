// How many jobs a worker takes at once.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ernie_image {

/// Pictures that a worker makes in one run at a gain: so many, unless they are larger than `pixels`
/// together or smaller than `least_pixels` each, where it is one.
struct BatchLimit {
  int most = 1;
  std::int64_t pixels = 0;  ///< 0: any
  std::int64_t least_pixels = 0;

  // Not explicit: a plain number is a limit for all sizes.
  BatchLimit(int images = 1, std::int64_t pixels_together = 0, std::int64_t pixels_each = 0)
      : most(images), pixels(pixels_together), least_pixels(pixels_each) {}

  int images(int width_px, int height_px) const {
    const std::int64_t size = std::max<std::int64_t>(1, std::int64_t{width_px} * height_px);
    if (size < least_pixels) return 1;
    if (pixels == 0) return most;
    return static_cast<int>(std::clamp<std::int64_t>(pixels / size, 1, most));
  }
};

/// A worker's share of so many waiting jobs, rounded up, so that no other of as many workers is
/// left without: by its speed, or by their number where a speed is not known (0).
inline int fair_share(int waiting, int workers, double speed, double speed_of_all) {
  const double even = 1.0 / std::max(1, workers);
  const double part = speed > 0 && speed_of_all > 0 ? std::min(1.0, speed / speed_of_all) : even;
  return std::max(1, static_cast<int>(waiting * part + 0.999));
}

}  // namespace ernie_image
