// Makes a stage fit its limit by rehearsing it again with less at a time.
#include <algorithm>

#include "memory/memory_plan.h"

namespace ernie_image {
namespace {

// The layer in use and one that is read meanwhile. More would not read any faster: the reader is
// never idle as long as the disk is the slower of the two.
constexpr std::int64_t kWindowLayers = 2;

// Of exact bands, which only their number makes slower.
constexpr std::size_t kSmallBands[] = {std::size_t{16} << 20, std::size_t{4} << 20};

/// The largest n in [low, high] for which `fits(n)`, given that it fits for `low`.
template <typename Fits>
std::int64_t most_that_fits(std::int64_t low, std::int64_t high, const Fits& fits) {
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

void set_peak(StagePlan& stage, const Ledger::Held& peak, std::uint64_t program_bytes) {
  stage.peak = peak;
  stage.total_bytes = program_bytes + peak.total();
}

}  // namespace

void fit_layers(StagePlan& stage, std::int64_t layers, std::uint64_t program_bytes,
                std::uint64_t limit_bytes, const LayersRehearsal& rehearse) {
  const auto fits = [&](std::int64_t resident, std::int64_t window) {
    stage.residency.resident_layers = resident;
    stage.residency.window_layers = window;
    set_peak(stage, rehearse(stage.residency), program_bytes);
    return stage.total_bytes <= limit_bytes;
  };
  stage.residency.layers = layers;
  stage.fits = fits(layers, 0);
  stage.weight_bytes = stage.peak.weights;
  stage.least_bytes = stage.total_bytes;
  if (stage.fits || layers == 0) return;
  stage.fits = fits(0, 1);
  stage.least_bytes = stage.total_bytes;
  if (!stage.fits) return;
  if (layers < kWindowLayers || !fits(0, kWindowLayers)) {
    fits(0, 1);
    return;
  }
  const auto resident = most_that_fits(
      0, layers - kWindowLayers, [&](std::int64_t count) { return fits(count, kWindowLayers); });
  fits(resident, kWindowLayers);
}

void fit_bands(StagePlan& stage, const BandChoices& choices, std::uint64_t program_bytes,
               std::uint64_t limit_bytes, const BandsRehearsal& rehearse) {
  const auto fits = [&](const DecodeBands& bands) {
    stage.bands = bands;
    set_peak(stage, rehearse(bands), program_bytes);
    stage.least_bytes = std::min(stage.least_bytes, stage.total_bytes);
    return stage.total_bytes <= limit_bytes;
  };
  stage.least_bytes = UINT64_MAX;
  DecodeBands bands;
  stage.fits = true;
  if (fits(bands)) return;
  for (const std::size_t band_bytes : kSmallBands) {
    bands.band_bytes = band_bytes;
    if (fits(bands)) return;
  }
  DecodeBands least = bands;
  for (bands.whole_blocks = choices.blocks; bands.whole_blocks-- > 0;) {
    bands.strip_rows = choices.least_rows;
    const std::int64_t rows = choices.latent_rows << bands.whole_blocks;
    if (rows <= choices.least_rows) break;
    const bool enough = fits(bands);
    if (stage.total_bytes == stage.least_bytes) least = bands;
    if (!enough) continue;
    bands.strip_rows = most_that_fits(choices.least_rows, rows - 1, [&](std::int64_t count) {
      DecodeBands larger = bands;
      larger.strip_rows = count;
      return fits(larger);
    });
    fits(bands);
    return;
  }
  fits(least);
  stage.fits = false;
}

}  // namespace ernie_image
