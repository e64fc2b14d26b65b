// GroupNorm of [B, H, W, C]: statistics of strips of pixels in float, joined in double, then one
// affine map by channel. The result does not depend on the number of threads.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "backend/cpu/norm.h"

namespace ernie_image::cpu {
namespace {

/// Mean and sum of squared deviations of `count` values.
struct Moments {
  double count = 0;
  double mean = 0;
  double squares = 0;

  /// Of both sets together (Chan, Golub and LeVeque).
  void join(const Moments& other) {
    const double total = count + other.count;
    const double distance = other.mean - mean;
    squares += other.squares + distance * distance * count * other.count / total;
    mean += distance * other.count / total;
    count = total;
  }
};

/// An image batch cut into strips of at most `strip` pixels.
struct Strips {
  std::int64_t images;
  std::int64_t pixels;  ///< of an image
  std::int64_t channels;
  std::int64_t groups;
  std::int64_t strip;
  std::int64_t per_image;

  Strips(const Tensor& x, int group_count)
      : images(x.dim(0)), pixels(x.dim(1) * x.dim(2)), channels(x.dim(3)), groups(group_count) {
    constexpr std::int64_t kElements = 32768;  // 128 KiB of f32: stays in a second-level cache
    strip = std::max<std::int64_t>(1, kElements / channels);
    per_image = (pixels + strip - 1) / strip;
  }

  std::int64_t count() const { return images * per_image; }
  std::int64_t channels_per_group() const { return channels / groups; }

  std::int64_t pixels_of(std::int64_t index) const {
    return std::min(strip, pixels - index % per_image * strip);
  }
  std::byte* start_of(const Tensor& tensor, std::int64_t index) const {
    const std::int64_t pixel = index / per_image * pixels + index % per_image * strip;
    return tensor.bytes() + pixel * channels * static_cast<std::int64_t>(size_of(tensor.dtype()));
  }
};

double sum_of_group(const std::vector<float>& channel_values, std::int64_t group,
                    std::int64_t size) {
  const auto begin = channel_values.begin() + group * size;
  return std::accumulate(begin, begin + size, 0.0);
}

/// Moments of each group of one strip. Sums in float keep their accuracy because they are of
/// distances: from the strip's first pixel for the mean, from the mean for the squares.
void measure_strip(const NormKernels::Table& kernels, const Strips& strips, const Tensor& x,
                   std::int64_t index, Moments* moments) {
  const std::int64_t size = strips.channels_per_group();
  const std::int64_t pixels = strips.pixels_of(index);
  const std::byte* start = strips.start_of(x, index);
  std::vector<float> sums(static_cast<std::size_t>(strips.channels));
  std::vector<float> centre(sums.size());
  kernels.channel_sums(start, 1, strips.channels, std::vector<float>(sums.size()).data(),
                       centre.data());
  kernels.channel_sums(start, pixels, strips.channels, centre.data(), sums.data());
  for (std::int64_t g = 0; g < strips.groups; ++g) {
    const double count = static_cast<double>(pixels * size);
    const double mean = sum_of_group(centre, g, size) / static_cast<double>(size) +
                        sum_of_group(sums, g, size) / count;
    moments[g] = {.count = count, .mean = mean, .squares = 0};
    std::fill_n(centre.begin() + g * size, size, static_cast<float>(mean));
  }
  kernels.channel_squares(start, pixels, strips.channels, centre.data(), sums.data());
  for (std::int64_t g = 0; g < strips.groups; ++g) {
    moments[g].squares = sum_of_group(sums, g, size);
  }
}

/// mean and 1 / sqrt(variance + eps) by group, laid out by channel: [B, C] each.
struct ChannelStatistics {
  std::vector<float> mean;
  std::vector<float> factor;

  ChannelStatistics(const Strips& strips, const std::vector<Moments>& moments, const float* weight,
                    float eps) {
    for (std::int64_t image = 0; image < strips.images; ++image) {
      for (std::int64_t c = 0; c < strips.channels; ++c) {
        const std::int64_t group = c / strips.channels_per_group();
        if (c % strips.channels_per_group() == 0) total_ = join(strips, moments, image, group);
        mean.push_back(static_cast<float>(total_.mean));
        const double deviation = std::sqrt(total_.squares / total_.count + eps);
        factor.push_back(static_cast<float>(weight[c] / deviation));
      }
    }
  }

 private:
  static Moments join(const Strips& strips, const std::vector<Moments>& moments, std::int64_t image,
                      std::int64_t group) {
    Moments total;
    for (std::int64_t strip = 0; strip < strips.per_image; ++strip) {
      const std::int64_t index = image * strips.per_image + strip;
      total.join(moments[static_cast<std::size_t>(index * strips.groups + group)]);
    }
    return total;
  }

  Moments total_;
};

}  // namespace

void group_norm(ThreadPool& pool, const NormKernels& kernels, const Tensor& x, const float* weight,
                const float* bias, int groups, float eps, Activation activation, Tensor& y) {
  assert(x.rank() == 4 && x.dim(3) % groups == 0 && x.dtype() == y.dtype());
  const Strips strips(x, groups);
  const NormKernels::Table& table = kernels.of(x.dtype());
  std::vector<Moments> moments(static_cast<std::size_t>(strips.count() * groups));
  pool.parallel_for(strips.count(), [&](std::int64_t index, int) {
    measure_strip(table, strips, x, index, moments.data() + index * groups);
  });
  const ChannelStatistics statistics(strips, moments, weight, eps);
  pool.parallel_for(strips.count(), [&](std::int64_t index, int) {
    const std::int64_t offset = index / strips.per_image * strips.channels;
    table.channel_affine(
        strips.start_of(x, index), strips.pixels_of(index), strips.channels,
        {statistics.mean.data() + offset, statistics.factor.data() + offset, bias, activation},
        strips.start_of(y, index));
  });
}

}  // namespace ernie_image::cpu
