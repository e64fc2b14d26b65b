// Attention: which kernel, and in what form the mask reaches it.
#pragma once

#include <string>
#include <vector>

#include "backend/ascend/call.h"
#include "backend/backend.h"

namespace ernie_image::ascend {

/// --ascend-attention
enum class AttentionForm {
  automatic,  ///< the fused kernel, padding as key lengths; a mask where a kernel takes no lengths
  lengths,    ///< the fused kernel, padding as key lengths; composed where a kernel takes none
  mask,       ///< the fused kernel, padding as a dense mask [B, 1, Sq, Skv]
  composed,   ///< BatchMatMul, Softmax, BatchMatMul
};

/// A mask as the kernels take it: bool [B or 1, 1, Sq, Skv], 1 = hidden. They refuse [B, 1, 1,
/// Skv], which therefore cannot be made: there is no other constructor.
class DenseMask {
 public:
  /// Writes out what `mask` describes; `mask` is causal or key_lengths.
  DenseMask(Stream& stream, const AttentionMask& mask, std::int64_t batch, std::int64_t queries,
            std::int64_t keys);

  const Tensor& tensor() const { return tensor_; }
  bool is(const AttentionMask& mask, std::int64_t batch, std::int64_t queries,
          std::int64_t keys) const;

 private:
  AttentionMask mask_;
  Tensor tensor_;
};

class Attention {
 public:
  Attention(Stream& stream, AttentionForm form) : stream_(stream), form_(form) {}

  /// As Backend::attention.
  Tensor operator()(const Tensor& q, const Tensor& k, const Tensor& v, AttentionMask mask,
                    float scale);

  AttentionForm form() const { return form_; }
  /// Forgets the masks of earlier requests.
  void release_masks() { masks_.clear(); }

 private:
  bool fused_inference_takes(const Tensor& q, const Tensor& k) const;
  bool flash_attention_takes(const Tensor& q) const;
  const Tensor& dense(const AttentionMask& mask, const Tensor& q, const Tensor& k);
  Tensor fused_inference(const Tensor& q, const Tensor& k, const Tensor& v,
                         const AttentionMask& mask, float scale);
  Tensor flash_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                         const AttentionMask& mask, float scale);
  Tensor composed(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                  float scale);

  Stream& stream_;
  AttentionForm form_;
  std::vector<DenseMask> masks_;  // the last few: made once for all layers and steps of a request
};

/// softmax(q k^T * scale + mask) v in float, composed of plain operations. q, k, v, result: f32.
/// `causal` [1, 1, Sq, Skv] hides keys that come later, or is empty.
Tensor composed_attention(Stream& stream, const Tensor& q, const Tensor& k, const Tensor& v,
                          const std::vector<std::int64_t>& key_lengths, const Tensor& causal,
                          float scale);

}  // namespace ernie_image::ascend
