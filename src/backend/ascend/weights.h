// The forms that a weight has on an Ascend card.
#pragma once

#include "backend/ascend/int8_linear.h"
#include "backend/card/weights.h"

namespace ernie_image::ascend {

/// Weights of the form int8_rows are made on the host while they go up, from whatever format the
/// file has: core/row_codes.h. A file that holds them so is copied.
/// With `in_blocks` these are laid out as Int8Blocks.
class WeightForms : public card::WeightForms {
 public:
  explicit WeightForms(bool in_blocks) : in_blocks_(in_blocks) {}
  bool in_blocks() const { return in_blocks_; }

  using card::WeightForms::fill;
  std::size_t bytes(const Weight& weight, card::WeightForm form) const override;
  void fill(const card::WeightGroup::Entry& entry, std::byte* target, std::byte* scratch,
            card::Staging& staging, const card::Queue& queue) const override;

 private:
  bool in_blocks_;
};

/// Throws as WeightStore::prepare does, and Error(unsupported) for what cannot be quantised here.
WeightHandle prepare(card::WeightStore& weights, const WeightForms& forms, const Weight& weight,
                     WeightUse use, Quantization quantization);

/// Whether a weight has the form int8_rows, and it where it is on the card.
bool is_int8(const PreparedWeight& weight);
Int8Rows int8_rows(card::WeightStore& weights, const WeightForms& forms,
                   const PreparedWeight& weight);

}  // namespace ernie_image::ascend
