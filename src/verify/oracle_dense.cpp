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

/// At pixels stride - 1, 2 stride - 1... each way.
Tensor convolve(const Tensor& input, const Tensor& weight, const Tensor& bias,
                std::int64_t stride) {
  const Tensor x = to_float(input);
  const Tensor kernels = to_float(weight);
  Tensor y =
      Tensor::host(DType::f32, {x.dim(0), x.dim(1) / stride, x.dim(2) / stride, weight.dim(0)});
  std::int64_t i = 0;
  for (std::int64_t b = 0; b < y.dim(0); ++b) {
    for (std::int64_t oy = stride - 1; oy < x.dim(1); oy += stride) {
      for (std::int64_t ox = stride - 1; ox < x.dim(2); ox += stride) {
        for (std::int64_t o = 0; o < weight.dim(0); ++o, ++i) {
          const double offset = bias.data<float>()[o];
          y.data<float>()[i] = static_cast<float>(convolve_at(x, kernels, b, oy, ox, o) + offset);
        }
      }
    }
  }
  return round_to(y, input.dtype());
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

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return convolve(x, weight, bias, 1);
}

Tensor conv2d_stride2(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  // With zeros on one side only, the windows begin at pixels 0, 2...: around 1, 3...
  return convolve(x, weight, bias, 2);
}

}  // namespace ernie_image::oracle
