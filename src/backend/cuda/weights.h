// The forms that a weight has on an NVIDIA card.
#pragma once

#include "backend/card/weights.h"
#include "backend/cuda/quantize.h"
#include "backend/cuda/stream.h"

namespace ernie_image::cuda {

using card::WeightForm;

class WeightForms : public card::WeightForms {
 public:
  using card::WeightForms::fill;
  std::size_t bytes(const Weight& weight, WeightForm form) const override;
  std::size_t scratch_bytes(const Weight& weight, WeightForm form) const override;
  void fill(const card::WeightGroup::Entry& entry, std::byte* target, std::byte* scratch,
            card::Staging& staging, const card::Queue& queue) const override;
};

/// Throws as WeightStore::prepare does, and Error(corrupt_file) for a packed weight whose bytes are
/// not what its shape demands.
WeightHandle prepare(card::WeightStore& weights, const Weight& weight, WeightUse use,
                     Quantization quantization);

/// A weight of the form int8_rows, where it is on the card.
Int8Rows int8_rows(card::WeightStore& weights, const PreparedWeight& weight);

}  // namespace ernie_image::cuda
