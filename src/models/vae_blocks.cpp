#include "models/vae_blocks.h"

#include <cmath>
#include <string>

namespace ernie_image {
namespace {

constexpr float kGroupNormEps = 1e-6f;

}  // namespace

GroupNorm load_group_norm(const WeightLoader& loader, const std::string& name,
                          std::int64_t channels, int groups) {
  return {loader.vector(name + ".weight", channels), loader.vector(name + ".bias", channels),
          groups};
}

Tensor group_norm(Backend& ops, const Tensor& x, const GroupNorm& norm) {
  return ops.group_norm(x, *norm.weight, *norm.bias, norm.groups, kGroupNormEps, Activation::none);
}

NormedConv2d::NormedConv2d(Backend& ops, const BandedImage& x, const GroupNorm& norm,
                           const Conv2d& conv)
    : ops_(ops),
      conv_(conv),
      statistics_(ops.group_statistics(x, norm.groups, kGroupNormEps)),
      norm_{statistics_, *norm.weight, *norm.bias} {}

Tensor NormedConv2d::operator()(const ImageBand& band, const Tensor* residual) const {
  return ops_.conv2d_band(band, *conv_.weight, *conv_.bias, {.norm = &norm_, .residual = residual});
}

ResnetBlock::ResnetBlock(const WeightLoader& loader, std::int64_t inputs, std::int64_t outputs,
                         int groups)
    : norm1_(load_group_norm(loader, "norm1", inputs, groups)),
      norm2_(load_group_norm(loader, "norm2", outputs, groups)),
      conv1_(load_conv2d(loader, "conv1", outputs, inputs, 3)),
      conv2_(load_conv2d(loader, "conv2", outputs, outputs, 3)) {
  if (inputs != outputs) conv_shortcut_ = load_conv2d(loader, "conv_shortcut", outputs, inputs, 1);
}

BandedImage ResnetBlock::forward(Backend& ops, BandedImage x) const {
  const NormedConv2d conv1(ops, x, norm1_, conv1_);
  BandedImage shortcut, h;
  if (conv_shortcut_) {
    h = by_bands(ops, std::move(x), [&](const ImageBand& band, std::size_t) {
      shortcut.push_back((*conv_shortcut_)(ops, band.rows));
      return conv1(band);
    });
  } else {
    shortcut = x;
    h = by_bands(ops, std::move(x),
                 [&](const ImageBand& band, std::size_t) { return conv1(band); });
  }
  const NormedConv2d conv2(ops, h, norm2_, conv2_);
  return by_bands(ops, std::move(h), [&](const ImageBand& band, std::size_t i) {
    const Tensor residual = std::exchange(shortcut[i], {});
    return conv2(band, &residual);
  });
}

VaeAttention::VaeAttention(const WeightLoader& loader, std::int64_t channels, int groups)
    : group_norm_(load_group_norm(loader, "group_norm", channels, groups)),
      to_q_(load_linear(loader, "to_q", channels, channels, Bias::yes)),
      to_k_(load_linear(loader, "to_k", channels, channels, Bias::yes)),
      to_v_(load_linear(loader, "to_v", channels, channels, Bias::yes)),
      to_out_(load_linear(loader, "to_out.0", channels, channels, Bias::yes)) {}

Tensor VaeAttention::forward(Backend& ops, const Tensor& x) const {
  const std::int64_t channels = x.dim(3);
  const std::int64_t pixels = x.dim(1) * x.dim(2);
  const Tensor y = group_norm(ops, x, group_norm_).reshaped({x.dim(0), pixels, channels});
  const Shape one_head = {x.dim(0), pixels, 1, channels};
  const Tensor query = to_q_(ops, y).reshaped(one_head);
  const Tensor key = to_k_(ops, y).reshaped(one_head);
  const Tensor value = to_v_(ops, y).reshaped(one_head);
  const float scale = 1.0f / std::sqrt(static_cast<float>(channels));
  const Tensor attended = to_out_(ops, ops.attention(query, key, value, {}, scale));
  return ops.add(attended.reshaped(x.shape()), x);
}

MidBlock::MidBlock(const WeightLoader& loader, std::int64_t channels, int groups, bool attention) {
  for (int i = 0; i < 2; ++i)
    resnets_.emplace_back(loader.at("resnets." + std::to_string(i)), channels, channels, groups);
  if (attention) attention_.emplace(loader.at("attentions.0"), channels, groups);
}

Tensor MidBlock::forward(Backend& ops, Tensor x, const Tap& tap) const {
  x = resnets_[0].forward(ops, {std::move(x)}).front();
  tap.channels_first("mid.resnet0", x);
  if (attention_) {
    x = attention_->forward(ops, x);
    tap.channels_first("mid.attention", x);
  }
  x = resnets_[1].forward(ops, {std::move(x)}).front();
  tap.channels_first("mid_block", x);
  return x;
}

UpBlock::UpBlock(const WeightLoader& loader, const UpBlockConfig& config) {
  for (std::int64_t i = 0; i < config.resnets; ++i) {
    resnets_.emplace_back(loader.at("resnets." + std::to_string(i)),
                          i == 0 ? config.inputs : config.outputs, config.outputs, config.groups);
  }
  if (config.upsample)
    upsampler_ = load_conv2d(loader, "upsamplers.0.conv", config.outputs, config.outputs, 3);
}

BandedImage UpBlock::forward(Backend& ops, BandedImage x, std::size_t band_bytes) const {
  for (const ResnetBlock& resnet : resnets_) x = resnet.forward(ops, std::move(x));
  if (!upsampler_) return x;
  x = cut_for_upsampling(ops, std::move(x), band_bytes);
  return by_bands(ops, std::move(x), [&](const ImageBand& band, std::size_t) {
    return ops.conv2d_band(band, *upsampler_->weight, *upsampler_->bias, {.upsample = true});
  });
}

DownBlock::DownBlock(const WeightLoader& loader, const DownBlockConfig& config) {
  for (std::int64_t i = 0; i < config.resnets; ++i) {
    resnets_.emplace_back(loader.at("resnets." + std::to_string(i)),
                          i == 0 ? config.inputs : config.outputs, config.outputs, config.groups);
  }
  if (config.downsample)
    downsampler_ = load_conv2d(loader, "downsamplers.0.conv", config.outputs, config.outputs, 3);
}

BandedImage DownBlock::forward(Backend& ops, BandedImage x, std::size_t band_bytes) const {
  for (const ResnetBlock& resnet : resnets_) x = resnet.forward(ops, std::move(x));
  if (!downsampler_) return x;
  x = by_bands(ops, std::move(x), [&](const ImageBand& band, std::size_t) {
    return ops.conv2d_stride2(band, *downsampler_->weight, *downsampler_->bias);
  });
  return merged(ops, std::move(x), band_bytes);
}

}  // namespace ernie_image
