#include "models/vae_decoder.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/half.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kMaxChannels = 1 << 16;

/// The convolutions of the last blocks see some 13 rows of their input to either side: bands that
/// overlap by 32 and fade over them agree but for the group norms' statistics, which are those of
/// the band.
constexpr std::int64_t kOverlap = 32;

/// Adds `band` [B, rows, W, C], which begins at row `top`, to `image` [B, H, W, C]. Over the first
/// `fade` rows, which the band above covers too, its weight rises linearly while the other's falls.
void blend_strip(Tensor& image, const Tensor& band, std::int64_t top, std::int64_t fade) {
  if (image.is_booked()) return;
  const std::int64_t row_size = image.dim(2) * image.dim(3);
  for (std::int64_t b = 0; b < image.dim(0); ++b) {
    for (std::int64_t y = 0; y < band.dim(1); ++y) {
      const float weight =
          y < fade ? (static_cast<float>(y) + 0.5f) / static_cast<float>(fade) : 1.0f;
      const float* source = band.data<float>() + (b * band.dim(1) + y) * row_size;
      float* target = image.data<float>() + (b * image.dim(1) + top + y) * row_size;
      for (std::int64_t i = 0; i < row_size; ++i) target[i] += weight * (source[i] - target[i]);
    }
  }
}

}  // namespace

VaeConfig VaeConfig::read(const JsonReader& reader) {
  VaeConfig config;
  config.latent_channels =
      reader.integer("latent_channels", config.latent_channels, 1, kMaxChannels);
  config.in_channels = reader.integer("in_channels", config.in_channels, 1, kMaxChannels);
  config.out_channels = reader.integer("out_channels", config.out_channels, 1, kMaxChannels);
  const auto widths =
      reader.integers("block_out_channels", config.block_out_channels, 1, kMaxChannels);
  config.encoder_block_out_channels = widths;
  config.block_out_channels =
      reader.integers("decoder_block_out_channels", widths, 1, kMaxChannels);
  config.layers_per_block = reader.integer("layers_per_block", config.layers_per_block, 0, 64);
  config.norm_num_groups =
      reader.integer("norm_num_groups", config.norm_num_groups, 1, kMaxChannels);
  config.use_quant_conv = reader.boolean("use_quant_conv", config.use_quant_conv);
  config.use_post_quant_conv = reader.boolean("use_post_quant_conv", config.use_post_quant_conv);
  config.mid_block_add_attention =
      reader.boolean("mid_block_add_attention", config.mid_block_add_attention);
  if (widths.empty() || widths.size() > 8 || config.block_out_channels.size() != widths.size()) {
    throw Error(ErrorKind::corrupt_file, reader.where() +
                                             ": block_out_channels must have 1 to 8 entries, and "
                                             "decoder_block_out_channels as many");
  }
  config.spatial_factor = std::int64_t{1} << widths.size();
  for (const std::int64_t width : config.block_out_channels) {
    if (width % config.norm_num_groups != 0) {
      throw Error(ErrorKind::corrupt_file, reader.where() + ": block_out_channels " +
                                               std::to_string(width) +
                                               " does not divide by norm_num_groups " +
                                               std::to_string(config.norm_num_groups));
    }
  }
  if (config.out_channels != 3) {
    throw Error(ErrorKind::unsupported, reader.where() + ": out_channels " +
                                            std::to_string(config.out_channels) +
                                            " is not supported; 3 (RGB) is");
  }
  if (const std::string activation = reader.text("act_fn", "silu"); activation != "silu") {
    throw Error(ErrorKind::unsupported,
                reader.where() + ": act_fn \"" + activation + "\" is not supported; silu is");
  }
  if (reader.integers("patch_size", {2, 2}, 1, 64) != std::vector<std::int64_t>{2, 2}) {
    throw Error(ErrorKind::unsupported, reader.where() + ": only patch_size [2, 2] is supported");
  }
  return config;
}

VaeDecoder::VaeDecoder(Backend& ops, WeightSource& source, const VaeConfig& config)
    : ops_(ops), config_(config), norm_(source, config.packed_channels()) {
  const WeightLoader root(ops, source);
  const WeightLoader decoder = root.at("decoder");
  const auto& widths = config.block_out_channels;
  const int groups = static_cast<int>(config.norm_num_groups);
  if (config.use_post_quant_conv) {
    post_quant_conv_ =
        load_conv2d(root, "post_quant_conv", config.latent_channels, config.latent_channels, 1);
  }
  std::int64_t inputs = widths.back();
  conv_in_ = load_conv2d(decoder, "conv_in", inputs, config.latent_channels, 3);
  mid_block_ = MidBlock(decoder.at("mid_block"), inputs, groups, config.mid_block_add_attention);
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const std::int64_t outputs = widths[widths.size() - 1 - i];
    up_blocks_.emplace_back(decoder.at("up_blocks." + std::to_string(i)),
                            UpBlockConfig{.inputs = inputs,
                                          .outputs = outputs,
                                          .resnets = config.layers_per_block + 1,
                                          .groups = groups,
                                          .upsample = i + 1 < widths.size()});
    inputs = outputs;
  }
  conv_norm_out_ = load_group_norm(decoder, "conv_norm_out", inputs, groups);
  conv_out_ = load_conv2d(decoder, "conv_out", config.out_channels, inputs, 3);
}

BandedImage VaeDecoder::head(const Tensor& z, const Tap& tap) const {
  Tensor x = z;
  if (post_quant_conv_) {
    x = (*post_quant_conv_)(ops_, x);
    tap.channels_first("post_quant_conv", x);
  }
  x = conv_in_(ops_, x);
  tap.channels_first("conv_in", x);
  return {mid_block_.forward(ops_, std::move(x), tap)};
}

BandedImage VaeDecoder::up_blocks(BandedImage x, std::size_t first, std::size_t last,
                                  const DecodeBands& bands, const Tap& tap) const {
  for (std::size_t i = first; i < last; ++i) {
    x = up_blocks_[i].forward(ops_, std::move(x), bands.band_bytes);
    ops_.sizes_change();  // what was freed is too small for the next block
    const std::string name = "up_block" + std::to_string(i);
    if (tap.wants(name)) tap.channels_first(name, joined(ops_, x));
  }
  return x;
}

Tensor VaeDecoder::tail(BandedImage x, const Tap& tap) const {
  if (tap.wants("conv_norm_out"))
    tap.channels_first("conv_norm_out", group_norm(ops_, joined(ops_, x), conv_norm_out_));
  const NormedConv2d conv_out(ops_, x, conv_norm_out_, conv_out_);
  return ops_.download(
      joined(ops_, by_bands(ops_, std::move(x),
                            [&](const ImageBand& band, std::size_t) { return conv_out(band); })));
}

Tensor VaeDecoder::decode(const Tensor& z, const DecodeBands& bands, Trace* trace) const {
  const Tap tap(ops_, trace, "vae.");
  const std::size_t whole = std::min(bands.whole_blocks, up_blocks_.size());
  BandedImage picture = up_blocks(head(z, tap), 0, whole, bands, tap);
  if (whole == up_blocks_.size()) return tail(std::move(picture), tap);
  return decode_in_strips(picture, bands);
}

std::int64_t VaeDecoder::least_strip_rows() { return 3 * kOverlap; }

Tensor VaeDecoder::decode_in_strips(const BandedImage& x, const DecodeBands& bands) const {
  std::int64_t rows = 0;
  for (const Tensor& band : x) rows += band.dim(1);
  const std::int64_t scale = std::int64_t{1} << (up_blocks_.size() - 1 - bands.whole_blocks);
  const Shape& shape = x.front().shape();
  Tensor image =
      Tensor::host(DType::f32, {shape[0], rows * scale, shape[2] * scale, config_.out_channels});
  const Tap silent(ops_, nullptr, "");
  for (std::int64_t top = 0, end = 0; end < rows; top = end - kOverlap) {
    const std::int64_t fade = end == 0 ? 0 : kOverlap * scale;
    end = std::min(top + std::max(bands.strip_rows, least_strip_rows()), rows);
    BandedImage band = up_blocks({crop_rows(ops_, x, top, end - top)}, bands.whole_blocks,
                                 up_blocks_.size(), bands, silent);
    blend_strip(image, to_float(tail(std::move(band), silent)), top * scale, fade);
    ops_.release_cache();
  }
  return round_to(image, x.front().dtype());
}

Tensor to_uint8(const Tensor& images) {
  const DType dtype = images.dtype();
  const Tensor values = to_float(images);
  Tensor pixels = Tensor::host(DType::u8, images.shape());
  if (pixels.is_booked()) return pixels;
  for (std::int64_t i = 0; i < values.size(); ++i) {
    const float halved = rounded(values.data<float>()[i] * 0.5f, dtype);
    const float unit = std::clamp(rounded(halved + 0.5f, dtype), 0.0f, 1.0f);
    pixels.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(std::nearbyint(unit * 255.0f));
  }
  return pixels;
}

}  // namespace ernie_image
