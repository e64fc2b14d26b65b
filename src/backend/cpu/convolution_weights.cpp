// The filters of Winograd's convolution: packed like the right-hand side of a matrix product, one
// panel of taps at a time, and transformed.
#include <algorithm>
#include <array>

#include "backend/cpu/block_product.h"
#include "backend/cpu/convolution.h"

namespace ernie_image::cpu {
namespace {

/// Taps of input channels at a time: as many as kZeroRow is long.
constexpr std::int64_t kTapChannels = kBlockDepth / WinogradKernels::kTaps;

/// All input channels of one panel of outputs.
void transform_weight_panel(const GemmKernels& gemm, const WinogradKernels& kernels,
                            const Weight& weight, std::int64_t panel, std::int64_t panels,
                            float* target) {
  constexpr std::int64_t kTaps = WinogradKernels::kTaps;
  const std::int64_t channels = weight.shape[1];
  const std::int64_t padded = ceil_div(channels, kernels.lanes) * kernels.lanes;
  const std::int64_t stride = panels * padded * gemm.tile_columns;  // from a point to the next
  alignas(64) std::array<float, kTapChannels * kTaps * kMaxPanelWidth> taps;
  std::array<const std::byte*, kMaxPanelWidth> rows;
  for (std::int64_t channel = 0; channel < padded; channel += kTapChannels) {
    const std::int64_t count = std::min(kTapChannels, padded - channel);
    const std::int64_t depth = std::clamp<std::int64_t>(channels - channel, 0, count) * kTaps;
    for (int c = 0; c < gemm.tile_columns; ++c) {
      const std::int64_t output = panel * gemm.tile_columns + c;
      const auto offset = static_cast<std::size_t>((output * channels + channel) * kTaps);
      rows[static_cast<std::size_t>(c)] =
          output < weight.shape[0] ? weight.data + offset * size_of(weight.dtype) : kZeroRow.data();
    }
    if (depth > 0) gemm.pack_right(weight.dtype, rows.data(), depth, taps.data());
    std::fill(taps.begin() + depth * gemm.tile_columns,
              taps.begin() + count * kTaps * gemm.tile_columns, 0.0f);
    kernels.transform_weights(taps.data(), count,
                              target + (panel * padded + channel) * gemm.tile_columns, stride);
  }
}

}  // namespace

std::shared_ptr<float> winograd_weights(ThreadPool& pool, CpuMemoryPool& memory,
                                        const GemmKernels& gemm, const WinogradKernels& kernels,
                                        const Weight& weight) {
  const std::int64_t panels = ceil_div(weight.shape[0], gemm.tile_columns);
  const std::int64_t padded = ceil_div(weight.shape[1], kernels.lanes) * kernels.lanes;
  const std::shared_ptr<float> result =
      memory.allocate_floats(WinogradKernels::kPoints * panels * padded * gemm.tile_columns);
  pool.parallel_for(panels, [&](std::int64_t panel, int) {
    transform_weight_panel(gemm, kernels, weight, panel, panels, result.get());
  });
  return result;
}

}  // namespace ernie_image::cpu
