#include "metrics/structural_similarity.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace ernie_image {
namespace {

constexpr int kChannels = 3;
constexpr int kMaxScales = 5;
constexpr std::array<double, kMaxScales> kScaleWeights = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
constexpr double kLuminanceConstant = (0.01 * 255) * (0.01 * 255);
constexpr double kContrastConstant = (0.03 * 255) * (0.03 * 255);

/// One channel, row-major, values 0..255.
struct Plane {
  int width = 0;
  int height = 0;
  std::vector<float> values;

  const float* row(int y) const { return values.data() + static_cast<std::size_t>(y) * width; }
};

Plane channel_of(const Image& image, int channel) {
  Plane plane{image.width_px, image.height_px, {}};
  plane.values.resize(static_cast<std::size_t>(plane.width) * plane.height);
  for (std::size_t i = 0; i < plane.values.size(); ++i) {
    plane.values[i] = image.rgb[i * kChannels + channel];
  }
  return plane;
}

/// 2x2 means; an odd last row or column is left out.
Plane halved(const Plane& plane) {
  Plane half{plane.width / 2, plane.height / 2, {}};
  half.values.reserve(static_cast<std::size_t>(half.width) * half.height);
  for (int y = 0; y < half.height; ++y) {
    const float *upper = plane.row(2 * y), *lower = plane.row(2 * y + 1);
    for (int x = 0; x < half.width; ++x) {
      half.values.push_back((upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]) /
                            4);
    }
  }
  return half;
}

/// A separable window whose weights sum to 1, and what its variances are multiplied by.
struct Window {
  std::vector<double> weights;
  double covariance_factor = 1;

  int size() const { return static_cast<int>(weights.size()); }
};

Window uniform_window() {
  constexpr int kSize = 7;
  constexpr double kSamples = kSize * kSize;
  return {std::vector<double>(kSize, 1.0 / kSize), kSamples / (kSamples - 1)};
}

Window gaussian_window() {
  constexpr int kSize = 11;
  constexpr double kSigma = 1.5;
  Window window;
  double sum = 0;
  for (int i = 0; i < kSize; ++i) {
    const int x = i - kSize / 2;
    window.weights.push_back(std::exp(-x * x / (2 * kSigma * kSigma)));
    sum += window.weights.back();
  }
  for (double& weight : window.weights) weight /= sum;
  return window;
}

/// Weighted means of a, b, a^2, b^2 and a*b.
using Moments = std::array<double, 5>;

/// The moments over each horizontal window of a row: width - size + 1 of them.
void filter_row(const float* a, const float* b, const Window& window, std::vector<Moments>& out) {
  for (std::size_t x = 0; x < out.size(); ++x) {
    Moments sum = {};
    for (int i = 0; i < window.size(); ++i) {
      const double weight = window.weights[i], p = a[x + i], q = b[x + i];
      sum[0] += weight * p;
      sum[1] += weight * q;
      sum[2] += weight * p * p;
      sum[3] += weight * q * q;
      sum[4] += weight * p * q;
    }
    out[x] = sum;
  }
}

/// Means over all windows of a pair of planes.
struct Similarity {
  double ssim = 0;      ///< luminance times contrast and structure
  double contrast = 0;  ///< contrast and structure alone
};

Similarity similarity_of(const Moments& mean, double covariance_factor) {
  const double variance_a = covariance_factor * (mean[2] - mean[0] * mean[0]);
  const double variance_b = covariance_factor * (mean[3] - mean[1] * mean[1]);
  const double covariance = covariance_factor * (mean[4] - mean[0] * mean[1]);
  const double contrast =
      (2 * covariance + kContrastConstant) / (variance_a + variance_b + kContrastConstant);
  const double luminance = (2 * mean[0] * mean[1] + kLuminanceConstant) /
                           (mean[0] * mean[0] + mean[1] * mean[1] + kLuminanceConstant);
  return {luminance * contrast, contrast};
}

/// Keeps only as many filtered rows as the window is high.
Similarity mean_similarity(const Plane& a, const Plane& b, const Window& window) {
  const int size = window.size();
  const std::size_t columns = a.width - size + 1;
  std::vector<std::vector<Moments>> rows(size, std::vector<Moments>(columns));
  Similarity sum;
  for (int y = 0; y < a.height; ++y) {
    filter_row(a.row(y), b.row(y), window, rows[y % size]);
    if (y + 1 < size) continue;
    for (std::size_t x = 0; x < columns; ++x) {
      Moments mean = {};
      for (int i = 0; i < size; ++i) {
        const Moments& row = rows[(y + 1 + i) % size][x];  // oldest first
        for (std::size_t k = 0; k < mean.size(); ++k) mean[k] += window.weights[i] * row[k];
      }
      const Similarity here = similarity_of(mean, window.covariance_factor);
      sum.ssim += here.ssim;
      sum.contrast += here.contrast;
    }
  }
  const double windows = static_cast<double>(columns) * (a.height - size + 1);
  return {sum.ssim / windows, sum.contrast / windows};
}

int scales_for(int side, int window) {
  int scales = 0;
  for (; scales < kMaxScales && side >= window; ++scales) side /= 2;
  return scales;
}

double multi_scale_of_planes(Plane a, Plane b, int scales, const Window& window) {
  double weight_sum = 0;
  for (int i = 0; i < scales; ++i) weight_sum += kScaleWeights[i];
  double product = 1;
  for (int i = 0; i < scales; ++i) {
    const Similarity similarity = mean_similarity(a, b, window);
    const bool is_last = i + 1 == scales;
    // A negative mean has no real power; such pictures are as unlike as can be.
    const double factor = std::max(0.0, is_last ? similarity.ssim : similarity.contrast);
    product *= std::pow(factor, kScaleWeights[i] / weight_sum);
    if (is_last) break;
    a = halved(a);
    b = halved(b);
  }
  return product;
}

}  // namespace

std::optional<double> structural_similarity(const Image& a, const Image& b) {
  const Window window = uniform_window();
  if (std::min(a.width_px, a.height_px) < window.size()) return std::nullopt;
  double sum = 0;
  for (int c = 0; c < kChannels; ++c) {
    sum += mean_similarity(channel_of(a, c), channel_of(b, c), window).ssim;
  }
  return sum / kChannels;
}

std::optional<MultiScaleSimilarity> multi_scale_similarity(const Image& a, const Image& b) {
  const Window window = gaussian_window();
  const int scales = scales_for(std::min(a.width_px, a.height_px), window.size());
  if (scales == 0) return std::nullopt;
  double sum = 0;
  for (int c = 0; c < kChannels; ++c) {
    sum += multi_scale_of_planes(channel_of(a, c), channel_of(b, c), scales, window);
  }
  return MultiScaleSimilarity{sum / kChannels, scales};
}

}  // namespace ernie_image
