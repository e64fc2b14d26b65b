// The operations on bands, for backends that prefer whole pictures.
#include "backend/backend.h"

#include <cassert>

namespace ernie_image {

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
