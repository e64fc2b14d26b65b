#include "pipeline/preview.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "sampling/random.h"

namespace ernie_image {
namespace {

constexpr int kSide = 4;                     // pixels of the preview a latent, each way
constexpr int kOutputs = kSide * kSide * 3;  // and their RGB
constexpr double kRidge = 1e-3;              // times the mean of the diagonal
constexpr double kForgetting = 0.8;          // weight of all earlier pictures
constexpr int kMaxSamples = 1024;            // latent positions of one picture
constexpr int kRandomImages = 4;
constexpr int kRandomSide = 8;  // latents

/// `matrix` [n, n], symmetric and positive definite, becomes its Cholesky factor (lower part).
void factorise(std::vector<double>& matrix, int n) {
  const auto at = [&](int i, int j) -> double& { return matrix[std::size_t(i) * n + j]; };
  for (int j = 0; j < n; ++j) {
    for (int k = 0; k < j; ++k) at(j, j) -= at(j, k) * at(j, k);
    at(j, j) = std::sqrt(at(j, j));
    for (int i = j + 1; i < n; ++i) {
      for (int k = 0; k < j; ++k) at(i, j) -= at(i, k) * at(j, k);
      at(i, j) /= at(j, j);
    }
  }
}

/// Solves for every column of `right` [n, columns] in place.
void substitute(const std::vector<double>& factor, int n, std::vector<double>& right, int columns) {
  const auto row = [&](int i) { return right.data() + std::ptrdiff_t(i) * columns; };
  const auto subtract = [&](int i, int k, double by) {
    for (int c = 0; c < columns; ++c) row(i)[c] -= by * row(k)[c];
  };
  const auto divide = [&](int i) {
    for (int c = 0; c < columns; ++c) row(i)[c] /= factor[std::size_t(i) * n + i];
  };
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < i; ++k) subtract(i, k, factor[std::size_t(i) * n + k]);
    divide(i);
  }
  for (int i = n - 1; i >= 0; --i) {
    for (int k = i + 1; k < n; ++k) subtract(i, k, factor[std::size_t(k) * n + i]);
    divide(i);
  }
}

/// Mean RGB, 0..255, of the square of `side` pixels whose corner is (x, y).
void average(const Image& image, int x, int y, int side, float* rgb) {
  int sums[3] = {};
  for (int dy = 0; dy < side; ++dy) {
    const std::uint8_t* pixel =
        image.rgb.data() + (std::ptrdiff_t(y + dy) * image.width_px + x) * 3;
    for (int i = 0; i < 3 * side; ++i) sums[i % 3] += pixel[i];
  }
  for (int c = 0; c < 3; ++c)
    rgb[c] = static_cast<float>(sums[c]) / static_cast<float>(side * side);
}

/// Noise that is even over squares of `patch` latents: plain areas teach colours, fine noise
/// textures.
std::vector<float> random_latents(int channels, int patch, std::uint64_t seed) {
  std::vector<float> noise(static_cast<std::size_t>(channels * kRandomSide * kRandomSide));
  TorchGenerator(seed).randn(noise, Precision::fp32);
  std::vector<float> latents(noise.size());
  for (int i = 0; i < std::ssize(latents); ++i) {
    const int x = i % kRandomSide, y = i / kRandomSide % kRandomSide;
    latents[std::size_t(i)] = noise[std::size_t(i - x % patch - y % patch * kRandomSide)];
  }
  return latents;
}

}  // namespace

PreviewModel::PreviewModel(int latent_channels, int size_multiple_px)
    : channels_(latent_channels), pixels_per_cell_(std::max(1, size_multiple_px / kSide)) {
  const auto terms = static_cast<std::size_t>(channels_) + 1;
  gram_.resize(terms * terms);
  moments_.resize(terms * kOutputs);
}

void PreviewModel::learn(std::span<const float> latents, const Image& image) {
  const int cell = pixels_per_cell_, side = cell * kSide, terms = channels_ + 1;
  const int w = image.width_px / side, h = image.height_px / side, positions = w * h;
  assert(std::ssize(latents) == std::ptrdiff_t(channels_) * positions);
  const std::lock_guard lock(mutex_);
  for (double& sum : gram_) sum *= kForgetting;
  for (double& sum : moments_) sum *= kForgetting;
  std::vector<float> x(std::size_t(terms), 1.0f);
  float y[kOutputs];
  const int stride = std::max(1, positions / kMaxSamples);
  for (int p = 0; p < positions; p += stride) {
    for (int c = 0; c < channels_; ++c) x[std::size_t(c)] = latents[std::size_t(c) * positions + p];
    for (int i = 0; i < kSide * kSide; ++i) {
      average(image, p % w * side + i % kSide * cell, p / w * side + i / kSide * cell, cell,
              y + 3 * i);
    }
    for (int i = 0; i < terms; ++i) {
      const double xi = x[std::size_t(i)];
      double* gram = gram_.data() + std::ptrdiff_t(i) * terms;
      double* moment = moments_.data() + std::ptrdiff_t(i) * kOutputs;
      for (int j = 0; j < terms; ++j) gram[j] += xi * x[std::size_t(j)];
      for (int o = 0; o < kOutputs; ++o) moment[o] += xi * y[o];
    }
  }
  coefficients_ = solve();
}

std::shared_ptr<const PreviewModel::Coefficients> PreviewModel::solve() const {
  const int terms = channels_ + 1;
  std::vector<double> factor = gram_, solution = moments_;
  double trace = 0;
  for (int i = 0; i < terms; ++i) trace += gram_[std::size_t(i) * terms + i];
  for (int i = 0; i < terms; ++i) factor[std::size_t(i) * terms + i] += kRidge * trace / terms;
  factorise(factor, terms);
  substitute(factor, terms, solution, kOutputs);
  return std::make_shared<const Coefficients>(solution.begin(), solution.end());
}

Image PreviewModel::draw(std::span<const float> latents, int h, int w) const {
  std::shared_ptr<const Coefficients> coefficients;
  {
    const std::lock_guard lock(mutex_);
    coefficients = coefficients_;
  }
  const int positions = h * w;
  assert(std::ssize(latents) == std::ptrdiff_t(channels_) * positions);
  Image image{w * kSide, h * kSide, {}};
  image.rgb.assign(static_cast<std::size_t>(positions) * kOutputs, 128);
  if (coefficients == nullptr) return image;
  for (int p = 0; p < positions; ++p) {
    float out[kOutputs];
    const float* row = coefficients->data() + std::ptrdiff_t(channels_) * kOutputs;
    std::copy_n(row, kOutputs, out);
    for (int c = 0; c < channels_; ++c) {
      const float value = latents[std::size_t(c) * positions + p];
      const float* weights = coefficients->data() + std::ptrdiff_t(c) * kOutputs;
      for (int o = 0; o < kOutputs; ++o) out[o] += value * weights[o];
    }
    for (int o = 0; o < kOutputs; ++o) {
      const int px = p % w * kSide + o / 3 % kSide, py = p / w * kSide + o / 3 / kSide;
      const float value = std::isfinite(out[o]) ? std::clamp(out[o] + 0.5f, 0.0f, 255.0f) : 128.0f;
      image.rgb[(std::size_t(py) * image.width_px + px) * 3 + o % 3] =
          static_cast<std::uint8_t>(value);
    }
  }
  return image;
}

void learn_from_random_latents(PreviewModel& preview, Pipeline& pipeline) {
  const ModelInfo& info = pipeline.info();
  const int side_px = kRandomSide * info.size_multiple_px;
  for (int i = 0; i < kRandomImages; ++i) {
    const std::vector<float> latents =
        random_latents(info.latent_channels, i % 2 == 0 ? 1 : 2, static_cast<std::uint64_t>(i));
    preview.learn(latents, pipeline.decode(latents, side_px, side_px).front());
  }
}

}  // namespace ernie_image
