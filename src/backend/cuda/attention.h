// Attention, in the form that fits: cuDNN's fused kernel, our own fused kernel for bf16 heads of
// 32, 64 and 128, one for a single query, and one composed of matrix products for all the rest.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/products.h"

namespace ernie_image::cuda {

enum class AttentionForm {
  automatic,  ///< cuDNN's where it has one, else our own
  cudnn,      ///< an error where cuDNN has none
  own,
};

/// One call: q [B, Sq, heads, D], k and v [B, Skv, kv_heads, D], out [B, Sq, heads * D].
struct AttentionCall {
  const Tensor& q;
  const Tensor& k;
  const Tensor& v;
  const Tensor& out;
  /// i32 [B] on the card: how many keys each batch row has; empty for all of them.
  const Tensor& key_lengths;
  /// i32 [B] on the card, Sq for each; there if key_lengths are.
  const Tensor& query_lengths;
  /// Query i sees keys [0, i + Skv - Sq].
  bool causal;
  float scale;
};

/// A library's attention.
class LibraryAttention {
 public:
  virtual ~LibraryAttention() = default;
  /// Queues the call, or says in `why_not` that it has nothing for it.
  virtual bool attend(const Stream& stream, const AttentionCall& call, std::string& why_not) = 0;
};
std::unique_ptr<LibraryAttention> make_library_attention(const Stream& stream);

/// attention.cu: bf16, D 32, 64 or 128.
bool fused_attention_takes(const Tensor& q);
void fused_attention(const Stream& stream, const AttentionCall& call);

/// attention_row.cu: Sq = 1, D up to 512.
bool row_attention_takes(const Tensor& q);
void row_attention(const Stream& stream, const AttentionCall& call);

/// attention_softmax.cu: probabilities [rows, stride] of scores [rows, keys] f32 times scale. Row i
/// sees keys [0, first_visible + i], or all if that is negative; what it does not see becomes 0.
void softmax_rows(const Stream& stream, const Tensor& scores, std::int64_t first_visible,
                  float scale, const Tensor& probabilities);

class Attention {
 public:
  Attention(const Stream& stream, const Products& products, AttentionForm form);

  Tensor operator()(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                    float scale);
  AttentionForm form() const { return form_; }
  /// Gives up what is kept from call to call.
  void release() { kept_lengths_.clear(); }

 private:
  /// On the card; kept until the stage ends, since every layer of every step asks for the same, and
  /// recorded steps know the address.
  Tensor lengths_on_card(const std::vector<std::int64_t>& lengths);
  void composed(const AttentionCall& call, const AttentionMask& mask);
  void composed_head(const AttentionCall& call, const Tensor& turned_v, std::int64_t batch,
                     std::int64_t head, std::int64_t keys);

  const Stream& stream_;
  const Products& products_;
  AttentionForm form_;
  std::unique_ptr<LibraryAttention> library_;
  std::vector<std::pair<std::vector<std::int64_t>, Tensor>> kept_lengths_;
};

}  // namespace ernie_image::cuda
