// Pictures of unfinished latents, cheap enough for every step: a linear map that has learnt from
// the real decoder.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "ernie_image/pipeline.h"

namespace ernie_image {

/// One latent position's C values give 4 x 4 pixels of the preview: ridge regression, from latents
/// and the pictures that the decoder made of them. Safe to call from any thread.
class PreviewModel {
 public:
  /// `size_multiple_px` is the side in pixels that one latent covers, a multiple of 4.
  PreviewModel(int latent_channels, int size_multiple_px);

  /// Learns from latents [C, h, w] and their picture. Older pictures count for less and less.
  void learn(std::span<const float> latents, const Image& image);

  /// The preview of latents [C, h, w], 4 h pixels high; grey before anything was learnt.
  Image draw(std::span<const float> latents, int latent_height, int latent_width) const;

 private:
  using Coefficients = std::vector<float>;  // [C + 1, 48], the constant last

  std::shared_ptr<const Coefficients> solve() const;

  int channels_;
  int pixels_per_cell_;  // a side of what one pixel of the preview averages
  mutable std::mutex mutex_;
  std::vector<double> gram_;     // [C + 1, C + 1]: sums of products of latents
  std::vector<double> moments_;  // [C + 1, 48]: of latents and pixels
  std::shared_ptr<const Coefficients> coefficients_;
};

/// Teaches it with what the decoder makes of a few random latents. A small picture each.
void learn_from_random_latents(PreviewModel& preview, Pipeline& pipeline);

}  // namespace ernie_image
