#include "models/latent_norm.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <string>

#include "core/half.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

/// The constant of the ERNIE-Image pipeline, which does not read the config's batch_norm_eps; the
/// same both ways.
constexpr float kBatchNormEps = 1e-5f;

/// A 1-D weight as host floats.
Tensor host_vector(WeightSource& source, const std::string& name, std::int64_t size) {
  const Weight weight = source.get(name, {size});
  Tensor values = Tensor::host(DType::f32, {size});
  if (weight.data == nullptr || values.is_booked()) return values;
  if (weight.dtype != DType::f32 && weight.dtype != DType::bf16 && weight.dtype != DType::f16) {
    throw Error(ErrorKind::unsupported, name + ": type " + std::string(dtype_name(weight.dtype)) +
                                            " is not supported; F32, BF16 and F16 are");
  }
  Tensor stored = Tensor::host(weight.dtype, {size});
  std::copy_n(weight.data, weight.size_bytes(), stored.bytes());
  return to_float(stored);
}

/// Where one packed channel lies in z [B, 2h, 2w, C]: c = 4 channel + 2 dy + dx.
struct Place {
  Place(std::int64_t c, std::int64_t packed) : channels(packed / 4), channel(c / 4) {
    dy = c / 2 % 2;
    dx = c % 2;
  }
  /// Of pixel (b, y, x) of [B, h, w].
  std::int64_t at(std::int64_t line, std::int64_t w, std::int64_t x) const {
    return ((2 * line + dy) * 2 * w + 2 * x + dx) * channels + channel;
  }
  std::int64_t channels, channel, dy, dx;
};

}  // namespace

LatentNorm::LatentNorm(WeightSource& source, std::int64_t packed_channels)
    : mean_(host_vector(source, "bn.running_mean", packed_channels)),
      variance_(host_vector(source, "bn.running_var", packed_channels)) {}

LatentNorm::Statistics LatentNorm::statistics(std::int64_t channel, DType dtype) const {
  const float variance = rounded(variance_.data<float>()[channel], dtype);
  return {rounded(mean_.data<float>()[channel], dtype),
          rounded(std::sqrt(rounded(variance + kBatchNormEps, dtype)), dtype)};
}

Tensor LatentNorm::unpack(const Tensor& latents) const {
  const DType dtype = latents.dtype();
  const std::int64_t batch = latents.dim(0), packed = latents.dim(1), h = latents.dim(2),
                     w = latents.dim(3);
  const Tensor values = to_float(latents);
  Tensor z = Tensor::host(DType::f32, {batch, 2 * h, 2 * w, packed / 4});
  if (z.is_booked()) return round_to(z, dtype);
  const float* in = values.data<float>();
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t c = 0; c < packed; ++c) {
      const Statistics norm = statistics(c, dtype);
      const Place place(c, packed);
      for (std::int64_t y = 0; y < h; ++y) {
        for (std::int64_t x = 0; x < w; ++x) {
          z.data<float>()[place.at(b * h + y, w, x)] =
              rounded(rounded(*in++ * norm.deviation, dtype) + norm.mean, dtype);
        }
      }
    }
  }
  return round_to(z, dtype);
}

Tensor LatentNorm::pack(const Tensor& z) const {
  assert(z.dim(1) % 2 == 0 && z.dim(2) % 2 == 0);
  const DType dtype = z.dtype();
  const std::int64_t batch = z.dim(0), h = z.dim(1) / 2, w = z.dim(2) / 2, packed = 4 * z.dim(3);
  const Tensor values = to_float(z);
  Tensor latents = Tensor::host(DType::f32, {batch, packed, h, w});
  if (latents.is_booked()) return round_to(latents, dtype);
  float* out = latents.data<float>();
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t c = 0; c < packed; ++c) {
      const Statistics norm = statistics(c, dtype);
      const Place place(c, packed);
      for (std::int64_t y = 0; y < h; ++y) {
        for (std::int64_t x = 0; x < w; ++x) {
          const float value = values.data<float>()[place.at(b * h + y, w, x)];
          *out++ = rounded(rounded(value - norm.mean, dtype) / norm.deviation, dtype);
        }
      }
    }
  }
  return round_to(latents, dtype);
}

}  // namespace ernie_image
