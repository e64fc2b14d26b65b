// The sums of products: linear layers and convolutions.
#include <utility>

#include "verify/oracle.h"

namespace ernie_image::oracle {
namespace {

double dot(const float* a, const float* b, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

/// One output element; x: [B, H, W, C] and weight: [O, C, k, k], both f32.
double convolve_at(const Tensor& x, const Tensor& weight, std::int64_t b, std::int64_t oy,
                   std::int64_t ox, std::int64_t output) {
  const std::int64_t kernel = weight.dim(2);
  const std::int64_t channels = x.dim(3);
  double sum = 0;
  for (std::int64_t ky = 0; ky < kernel; ++ky) {
    for (std::int64_t kx = 0; kx < kernel; ++kx) {
      const std::int64_t y = oy + ky - kernel / 2;
      const std::int64_t xx = ox + kx - kernel / 2;
      if (y < 0 || y >= x.dim(1) || xx < 0 || xx >= x.dim(2)) continue;
      const float* pixel = x.data<float>() + ((b * x.dim(1) + y) * x.dim(2) + xx) * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::int64_t w = ((output * channels + c) * kernel + ky) * kernel + kx;
        sum += static_cast<double>(pixel[c]) * weight.data<float>()[w];
      }
    }
  }
  return sum;
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const std::int64_t depth = weight.dim(1);
  const std::int64_t columns = weight.dim(0);
  const Tensor wide = to_float(x);
  const Tensor rows = to_float(weight);
  Shape shape = x.shape();
  shape.back() = columns;
  Tensor y = Tensor::host(DType::f32, std::move(shape));
  for (std::int64_t i = 0; i < y.size(); ++i) {
    const std::int64_t n = i % columns;
    const double offset = bias.empty() ? 0.0 : bias.data<float>()[n];
    const double sum =
        dot(wide.data<float>() + i / columns * depth, rows.data<float>() + n * depth, depth);
    y.data<float>()[i] = static_cast<float>(sum + offset);
  }
  return round_to(y, x.dtype());
}

Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias) {
  const Tensor x = to_float(input);
  const Tensor kernels = to_float(weight);
  Tensor y = Tensor::host(DType::f32, {x.dim(0), x.dim(1), x.dim(2), weight.dim(0)});
  std::int64_t i = 0;
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    for (std::int64_t oy = 0; oy < x.dim(1); ++oy) {
      for (std::int64_t ox = 0; ox < x.dim(2); ++ox) {
        for (std::int64_t o = 0; o < weight.dim(0); ++o, ++i) {
          const double offset = bias.data<float>()[o];
          y.data<float>()[i] = static_cast<float>(convolve_at(x, kernels, b, oy, ox, o) + offset);
        }
      }
    }
  }
  return round_to(y, input.dtype());
}

}  // namespace ernie_image::oracle
