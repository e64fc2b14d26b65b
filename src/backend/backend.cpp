// What a backend need not have of its own beside composed_operations.cpp: the operations on bands
// for those that prefer whole pictures, and a clock for those that have computed when an operation
// returns.
#include "backend/backend.h"

#include <cassert>
#include <chrono>

namespace ernie_image {
namespace {

class HostTimer : public Backend::Timer {
 public:
  void start() override { start_ = std::chrono::steady_clock::now(); }
  double stop() override {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_;
};

}  // namespace

std::unique_ptr<Backend::Timer> Backend::make_timer() { return std::make_unique<HostTimer>(); }

GroupStatistics Backend::group_statistics([[maybe_unused]] std::span<const Tensor> bands,
                                          int groups, float eps) {
  assert(bands.size() == 1);
  return {groups, eps, {}};
}

Tensor Backend::conv2d_band(const ImageBand& x, const PreparedWeight& weight,
                            const PreparedWeight& bias, const ConvFusion& fusion) {
  assert(x.above == nullptr && x.below == nullptr);
  Tensor y = x.rows;
  if (fusion.norm != nullptr) {
    const GroupStatistics& statistics = fusion.norm->statistics;
    y = group_norm(y, fusion.norm->weight, fusion.norm->bias, statistics.groups, statistics.eps,
                   Activation::silu);
  }
  if (fusion.upsample) y = upsample_nearest2x(y);
  y = conv2d(y, weight, bias);
  return fusion.residual == nullptr ? y : add(y, *fusion.residual);
}

}  // namespace ernie_image
