// Prompts to the padded batch of text states that the transformer takes.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/trace.h"
#include "pipeline/plan.h"

namespace ernie_image {

struct TextBatch {
  Tensor text_bth;  ///< on the backend: [rows, T, text_in_dim], zero-padded on the right
  std::vector<std::int64_t> text_lens;  ///< valid tokens of each row
};

/// Rows are [negatives..., positives...] under guidance, else the positives; every prompt
/// `images_per_prompt` times in a row. Each different prompt is encoded once, alone.
TextBatch encode_text(Backend& ops, const TextEncoder& encoder, const GenerationPlan& plan,
                      int images_per_prompt, DType dtype, Trace* trace,
                      const std::function<void(int done, int total)>& on_progress);

}  // namespace ernie_image
