// Prompts to the padded batch of text states that the transformer takes.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <vector>

#include "core/trace.h"
#include "pipeline/resolve_request.h"

namespace ernie_image {

struct TextBatch {
  Tensor text_bth;  ///< on the backend: [rows, T, text_in_dim], zero-padded on the right
  std::vector<std::int64_t> text_lens;  ///< valid tokens of each row
};

/// Text states of the last prompts: a server is asked for the same one again and again.
class TextCache {
 public:
  /// Host [T, E], or nothing. A copy shares the memory.
  const Tensor* find(const std::vector<std::int32_t>& ids);
  void store(const std::vector<std::int32_t>& ids, const Tensor& hidden);

 private:
  struct Entry {
    std::vector<std::int32_t> ids;
    Tensor hidden;
  };
  std::list<Entry> entries_;  // the last used first
  std::size_t bytes_ = 0;
};

/// Rows are [negatives..., positives...] under guidance, else the positives; every prompt
/// `images_per_prompt` times in a row. Each different prompt is encoded once, alone,
/// or comes from the cache; a trace that wants text states sees each computed. States that
/// `request` has are taken as they are.
TextBatch encode_text(Backend& ops, const TextEncoder& encoder, const ResolvedRequest& plan,
                      const Request& request, DType dtype, TextCache& cache,
                      const std::function<void(int done, int total)>& on_progress);

}  // namespace ernie_image
