// GroupNorm of [B, H, W, C]: statistics of strips of pixels in float, joined in double, then one
// affine map by channel. The result does not depend on the number of threads, and hardly on bands.
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

  /// Statistics of both sets together (Chan, Golub and LeVeque).
  void join(const Moments& other) {
    if (other.count == 0) return;
    const double total = count + other.count;
    const double distance = other.mean - mean;
    squares += other.squares + distance * distance * count * other.count / total;
    mean += distance * other.count / total;
    count = total;
  }
};

/// A band of an image batch cut into strips of at most `strip` pixels.
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

/// Joins the strips of a band to the moments [images][groups] of the bands before, top to bottom.
void join_strips(const Strips& strips, std::span<const Moments> moments,
                 std::vector<Moments>& totals) {
  for (std::int64_t index = 0; index < strips.count(); ++index) {
    for (std::int64_t g = 0; g < strips.groups; ++g) {
      totals[static_cast<std::size_t>(index / strips.per_image * strips.groups + g)].join(
          moments[static_cast<std::size_t>(index * strips.groups + g)]);
    }
  }
}

}  // namespace

Tensor group_statistics(ThreadPool& pool, const NormKernels& kernels, std::span<const Tensor> bands,
                        int groups, float eps) {
  const std::int64_t images = bands.front().dim(0);
  Tensor values = Tensor::host(DType::f32, {images, groups, 2});
  std::vector<Moments> totals(static_cast<std::size_t>(images * groups));
  for (const Tensor& band : bands) {
    assert(band.rank() == 4 && band.dim(0) == images && band.dim(3) % groups == 0);
    const Strips strips(band, groups);
    const std::int64_t count = strips.count() * groups;
    const Tensor scratch =
        Tensor::host(DType::i8, {count * static_cast<std::int64_t>(sizeof(Moments))});
    if (scratch.is_booked()) continue;
    const std::span<Moments> moments(reinterpret_cast<Moments*>(scratch.bytes()),
                                     static_cast<std::size_t>(count));
    pool.parallel_for(strips.count(), [&](std::int64_t index, int) {
      measure_strip(kernels.of(band.dtype()), strips, band, index, moments.data() + index * groups);
    });
    join_strips(strips, moments, totals);
  }
  if (values.is_booked()) return values;
  float* value = values.data<float>();
  for (const Moments& total : totals) {
    *value++ = static_cast<float>(total.mean);
    *value++ = static_cast<float>(1.0 / std::sqrt(total.squares / total.count + eps));
  }
  return values;
}

ChannelNorm::ChannelNorm(const Tensor& statistics, std::int64_t channels, const float* weight) {
  const std::int64_t images = statistics.dim(0);
  const std::int64_t groups = statistics.dim(1);
  const float* values = statistics.data<float>();
  for (std::int64_t i = 0; !statistics.is_booked() && i < images * channels; ++i) {
    const std::int64_t group = i / channels * groups + i % channels / (channels / groups);
    mean.push_back(values[2 * group]);
    factor.push_back(values[2 * group + 1] * weight[i % channels]);
  }
}

void group_norm(ThreadPool& pool, const NormKernels& kernels, const Tensor& x, const float* weight,
                const float* bias, int groups, float eps, Activation activation, Tensor& y) {
  assert(x.rank() == 4 && x.dim(3) % groups == 0 && x.dtype() == y.dtype());
  const Strips strips(x, groups);
  const NormKernels::Table& table = kernels.of(x.dtype());
  const ChannelNorm norm(group_statistics(pool, kernels, {&x, 1}, groups, eps), strips.channels,
                         weight);
  pool.parallel_for(strips.count(), [&](std::int64_t index, int) {
    const std::int64_t offset = index / strips.per_image * strips.channels;
    table.channel_affine(strips.start_of(x, index), strips.pixels_of(index), strips.channels,
                         {norm.mean.data() + offset, norm.factor.data() + offset, bias, activation},
                         strips.start_of(y, index));
  });
}

}  // namespace ernie_image::cpu
