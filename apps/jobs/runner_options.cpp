#include "jobs/runner_options.h"

#include "common/flags.h"

namespace ernie_image {
namespace {

// Measured on two cores: a batch of four takes 0.61 of the time of four runs at 64x64 (the embedded
// model), 0.7 of their denoising at 256x256 (real widths, 2 layers). The larger the pictures, the
// less is gained, and the longer the first one waits.
constexpr int kPixelsAtOnce = 512 * 512;
constexpr int kMaxAtOnce = 8;
// Our own CPU kernels make of a batch the very pictures of each alone, but for pictures of so few
// latents that products alone have eight rows or fewer. Other devices may not, and are asked for
// batches by whoever knows.
constexpr int kSmallestPixels = 64 * 64;

}  // namespace

BatchLimit batch_limit(const RunnerOptions& options) {
  if (options.max_batch > 0) return options.max_batch;
  const bool is_exact = kernels_used(options.load) != "onednn" && options.load.device == "cpu";
  return is_exact ? BatchLimit(kMaxAtOnce, kPixelsAtOnce, kSmallestPixels) : BatchLimit(1);
}

}  // namespace ernie_image
