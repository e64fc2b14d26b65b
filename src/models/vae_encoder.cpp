#include "models/vae_encoder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kRgb = 3;

/// The config itself if an encoder can be made of it.
const VaeConfig& checked(const VaeConfig& config) {
  if (config.in_channels != kRgb) {
    throw Error(ErrorKind::unsupported, "vae: in_channels " + std::to_string(config.in_channels) +
                                            " is not supported; 3 (RGB) is");
  }
  if (config.layers_per_block == 0)
    throw Error(ErrorKind::corrupt_file, "vae: layers_per_block is 0, an encoder needs 1");
  for (const std::int64_t width : config.encoder_block_out_channels) {
    if (width % config.norm_num_groups == 0) continue;
    throw Error(ErrorKind::corrupt_file, "vae: block_out_channels " + std::to_string(width) +
                                             " does not divide by norm_num_groups " +
                                             std::to_string(config.norm_num_groups));
  }
  return config;
}

/// Channels [0, count) of the host tensor [..., C].
Tensor first_channels(const Tensor& x, std::int64_t count) {
  const std::int64_t channels = x.dim(-1);
  const std::size_t element = size_of(x.dtype());
  Shape shape = x.shape();
  shape.back() = count;
  Tensor first = Tensor::host(x.dtype(), std::move(shape));
  for (std::int64_t i = 0; i < x.size() / channels && !x.is_booked(); ++i) {
    std::copy_n(x.bytes() + static_cast<std::size_t>(i * channels) * element,
                static_cast<std::size_t>(count) * element,
                first.bytes() + static_cast<std::size_t>(i * count) * element);
  }
  return first;
}

}  // namespace

VaeEncoder::VaeEncoder(Backend& ops, WeightSource& source, const VaeConfig& config)
    : ops_(ops), config_(checked(config)), norm_(source, config.packed_channels()) {
  const WeightLoader root(ops, source);
  const WeightLoader encoder = root.at("encoder");
  const auto& widths = config.encoder_block_out_channels;
  const int groups = static_cast<int>(config.norm_num_groups);
  std::int64_t inputs = widths.front();
  conv_in_ = load_conv2d(encoder, "conv_in", inputs, config.in_channels, 3);
  for (std::size_t i = 0; i < widths.size(); ++i) {
    down_blocks_.emplace_back(encoder.at("down_blocks." + std::to_string(i)),
                              DownBlockConfig{.inputs = inputs,
                                              .outputs = widths[i],
                                              .resnets = config.layers_per_block,
                                              .groups = groups,
                                              .downsample = i + 1 < widths.size()});
    inputs = widths[i];
  }
  mid_block_ = MidBlock(encoder.at("mid_block"), inputs, groups, config.mid_block_add_attention);
  conv_norm_out_ = load_group_norm(encoder, "conv_norm_out", inputs, groups);
  const std::int64_t moments = 2 * config.latent_channels;
  conv_out_ = load_conv2d(encoder, "conv_out", moments, inputs, 3);
  if (config.use_quant_conv) quant_conv_ = load_conv2d(root, "quant_conv", moments, moments, 1);
}

BandedImage VaeEncoder::down(const Tensor& pictures, std::size_t band_bytes, const Tap& tap) const {
  const std::int64_t widest = config_.encoder_block_out_channels.front();
  BandedImage x = cut_for_channels(ops_, ops_.upload(pictures), widest, band_bytes);
  x = by_bands(ops_, std::move(x), [&](const ImageBand& band, std::size_t) {
    return ops_.conv2d_band(band, *conv_in_.weight, *conv_in_.bias, {});
  });
  if (tap.wants("conv_in")) tap.channels_first("conv_in", joined(ops_, x));
  for (std::size_t i = 0; i < down_blocks_.size(); ++i) {
    x = down_blocks_[i].forward(ops_, std::move(x), band_bytes);
    ops_.sizes_change();  // what was freed is too large for the next block
    const std::string name = "down_block" + std::to_string(i);
    if (tap.wants(name)) tap.channels_first(name, joined(ops_, x));
  }
  return x;
}

Tensor VaeEncoder::moments(const Tensor& x, const Tap& tap) const {
  const NormedConv2d conv_out(ops_, {x}, conv_norm_out_, conv_out_);
  Tensor y = conv_out({x});
  tap.channels_first("conv_out", y);
  if (quant_conv_) y = (*quant_conv_)(ops_, y);
  tap.channels_first("moments", y);
  return y;
}

Tensor VaeEncoder::encode(const Tensor& pictures, std::size_t band_bytes, Trace* trace) const {
  const Tap tap(ops_, trace, "vae_encoder.");
  const Tensor x = joined(ops_, down(pictures, band_bytes, tap));
  const Tensor y = moments(mid_block_.forward(ops_, x, tap), tap);
  return first_channels(ops_.download(y), config_.latent_channels);
}

Tensor from_uint8(const Tensor& pixels, DType dtype) {
  Tensor pictures = Tensor::host(DType::f32, pixels.shape());
  for (std::int64_t i = 0; i < pixels.size() && !pixels.is_booked(); ++i) {
    const float unit = static_cast<float>(pixels.data<std::uint8_t>()[i]) / 255.0f;
    pictures.data<float>()[i] = 2.0f * unit - 1.0f;
  }
  return round_to(pictures, dtype);
}

}  // namespace ernie_image
