// Attention: which kernel, and in what form the mask reaches it.
#pragma once

#include <string>
#include <vector>

#include "backend/ascend/attention_timings.h"
#include "backend/ascend/call.h"
#include "backend/backend.h"
#include "backend/card/option.h"

namespace ernie_image::ascend {

/// --ascend-attention
enum class AttentionForm {
  automatic,  ///< at large shapes the fastest that is there, see attention_timings.h; else lengths
  flash,      ///< the training operator, in BNSD, padding as a dense mask: as torch_npu calls it
  lengths,    ///< the inference operator, padding as key lengths; composed where it takes none
  mask,       ///< the inference operator, padding as a dense mask [B, 1, Sq, Skv]
  composed,   ///< BatchMatMul, Softmax, BatchMatMul
};

inline constexpr card::Choices<AttentionForm, 5> kAttentionForms = {
    {{"auto", AttentionForm::automatic},
     {"flash", AttentionForm::flash},
     {"lengths", AttentionForm::lengths},
     {"mask", AttentionForm::mask},
     {"composed", AttentionForm::composed}}};

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
  /// Shapes of fewer products than `least_timed` are not timed: all forms then take as long as a
  /// launch.
  Attention(Stream& stream, AttentionForm form, AttentionTimings& timings,
            std::int64_t least_timed = std::int64_t{1} << 26)
      : stream_(stream), form_(form), timings_(timings), least_timed_(least_timed) {}

  /// As Backend::attention.
  Tensor operator()(const Tensor& q, const Tensor& k, const Tensor& v, AttentionMask mask,
                    float scale);

  AttentionForm form() const { return form_; }
  AttentionTimings& timings() const { return timings_; }
  /// Forgets the masks of earlier requests.
  void release_masks() { masks_.clear(); }

 private:
  /// What one call computes.
  struct Call {
    const Tensor& q;
    const Tensor& k;
    const Tensor& v;
    const AttentionMask& mask;  ///< simplified
    float scale;

    bool is_padded() const { return mask.kind == AttentionMask::Kind::key_lengths; }
    /// A mask for a single query is taken by the kernels, and then read wrongly by some releases.
    bool mask_is_safe() const { return !is_padded() || q.dim(1) > 1; }
    std::string shape_text() const;
  };

  bool fused_inference_takes(const Call& call) const;
  bool flash_attention_takes(const Call& call) const;
  std::vector<AttentionForm> forms_to_time(const Call& call) const;
  AttentionForm fastest_form(const Call& call);
  FormTimes time_forms(const std::vector<AttentionForm>& forms, const Call& call);
  Tensor compute(AttentionForm form, const Call& call);
  const Tensor& dense(const AttentionMask& mask, const Tensor& q, const Tensor& k);
  Tensor fused_inference(const Call& call, bool as_lengths);
  Tensor flash_attention(const Call& call);
  Tensor heads_first(const Tensor& x);
  Tensor composed(const Call& call);

  Stream& stream_;
  AttentionForm form_;
  AttentionTimings& timings_;
  std::int64_t least_timed_;
  std::vector<DenseMask> masks_;  // the last few: made once for all layers and steps of a request
};

/// softmax(q k^T * scale + mask) v in float, composed of plain operations. q, k, v, result: f32.
/// `causal` [1, 1, Sq, Skv] hides keys that come later, or is empty.
Tensor composed_attention(Stream& stream, const Tensor& q, const Tensor& k, const Tensor& v,
                          const std::vector<std::int64_t>& key_lengths, const Tensor& causal,
                          float scale);

}  // namespace ernie_image::ascend
