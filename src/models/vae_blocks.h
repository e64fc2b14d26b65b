// The blocks that the VAE is made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "models/banded_image.h"
#include "nn/linear.h"
#include "nn/tap.h"

namespace ernie_image {

struct GroupNorm {
  WeightHandle weight, bias;  // [C]
  int groups;
};

GroupNorm load_group_norm(const WeightLoader& loader, const std::string& name,
                          std::int64_t channels, int groups);

/// Without an activation.
Tensor group_norm(Backend& ops, const Tensor& x, const GroupNorm& norm);

/// The convolution of silu(norm(x)), band by band.
class NormedConv2d {
 public:
  /// Measures x; norm and conv must outlive this.
  NormedConv2d(Backend& ops, const BandedImage& x, const GroupNorm& norm, const Conv2d& conv);
  NormedConv2d(const NormedConv2d&) = delete;
  NormedConv2d& operator=(const NormedConv2d&) = delete;

  /// Plus `residual`, if not null.
  Tensor operator()(const ImageBand& band, const Tensor* residual = nullptr) const;

 private:
  Backend& ops_;
  const Conv2d& conv_;
  const GroupStatistics statistics_;
  const ConvNorm norm_;
};

/// x' + conv2(silu(norm2(conv1(silu(norm1(x)))))), x' = conv_shortcut(x) where the widths differ.
class ResnetBlock {
 public:
  ResnetBlock(const WeightLoader& loader, std::int64_t inputs, std::int64_t outputs, int groups);
  BandedImage forward(Backend& ops, BandedImage x) const;

 private:
  GroupNorm norm1_, norm2_;
  Conv2d conv1_, conv2_;
  std::optional<Conv2d> conv_shortcut_;
};

/// Single-head attention over all pixels, plus the input.
class VaeAttention {
 public:
  VaeAttention(const WeightLoader& loader, std::int64_t channels, int groups);
  Tensor forward(Backend& ops, const Tensor& x) const;

 private:
  GroupNorm group_norm_;
  Linear to_q_, to_k_, to_v_, to_out_;
};

/// Residual block, attention (if there is any), residual block, on a whole picture.
class MidBlock {
 public:
  MidBlock() = default;
  MidBlock(const WeightLoader& loader, std::int64_t channels, int groups, bool attention);
  Tensor forward(Backend& ops, Tensor x, const Tap& tap) const;

 private:
  std::vector<ResnetBlock> resnets_;  // two
  std::optional<VaeAttention> attention_;
};

struct UpBlockConfig {
  std::int64_t inputs;
  std::int64_t outputs;
  std::int64_t resnets;
  int groups;
  bool upsample;
};

/// Residual blocks, then nearest x2 and a convolution, except in the last block.
class UpBlock {
 public:
  UpBlock(const WeightLoader& loader, const UpBlockConfig& config);
  /// `band_bytes`: of the bands that upsampling makes.
  BandedImage forward(Backend& ops, BandedImage x, std::size_t band_bytes) const;

 private:
  std::vector<ResnetBlock> resnets_;
  std::optional<Conv2d> upsampler_;
};

struct DownBlockConfig {
  std::int64_t inputs;
  std::int64_t outputs;
  std::int64_t resnets;  ///< at least one
  int groups;
  bool downsample;
};

/// Residual blocks, then a convolution of stride 2, except in the last block.
class DownBlock {
 public:
  DownBlock(const WeightLoader& loader, const DownBlockConfig& config);
  /// All bands but the last of an even number of rows, before and after. `band_bytes`: of the bands
  /// that are left after halving.
  BandedImage forward(Backend& ops, BandedImage x, std::size_t band_bytes) const;

 private:
  std::vector<ResnetBlock> resnets_;
  std::optional<Conv2d> downsampler_;
};

}  // namespace ernie_image
