#include "backend/ascend/attention.h"

#include <algorithm>
#include <utility>

#include "backend/ascend/operations.h"
#include "core/log.h"
#include "ernie_image/error.h"

namespace ernie_image::ascend {
namespace {

constexpr std::int64_t kAllTokens = 2147483647;  // no band around the diagonal
constexpr std::size_t kKeptMasks = 4;

/// Nothing hidden is nothing to mask: key lengths that are all there, and a single last query.
AttentionMask simplified(AttentionMask mask, std::int64_t queries, std::int64_t keys) {
  const bool complete =
      (mask.kind == AttentionMask::Kind::key_lengths &&
       std::ranges::all_of(mask.key_lengths, [&](std::int64_t n) { return n == keys; })) ||
      (mask.kind == AttentionMask::Kind::causal && queries == 1);
  return complete ? AttentionMask{} : mask;
}

AttentionForm form_of(const std::string& word, AttentionForm otherwise) {
  for (const auto& [name, form] : kAttentionForms)
    if (word == name) return form;
  return otherwise;
}

}  // namespace

DenseMask::DenseMask(Stream& stream, const AttentionMask& mask, std::int64_t batch,
                     std::int64_t queries, std::int64_t keys)
    : mask_(mask) {
  const bool causal = mask.kind == AttentionMask::Kind::causal;
  Tensor host = Tensor::host(DType::boolean, {causal ? 1 : batch, 1, queries, keys});
  for (std::int64_t row = 0; row < host.size() / keys && !host.is_booked(); ++row) {
    const std::int64_t visible = causal ? row + keys - queries + 1
                                        : mask.key_lengths[static_cast<std::size_t>(row / queries)];
    std::fill(host.data<std::uint8_t>() + row * keys + visible,
              host.data<std::uint8_t>() + (row + 1) * keys, std::uint8_t{1});
  }
  tensor_ = stream.upload(host);
}

bool DenseMask::is(const AttentionMask& mask, std::int64_t batch, std::int64_t queries,
                   std::int64_t keys) const {
  const bool causal = mask.kind == AttentionMask::Kind::causal;
  return mask.kind == mask_.kind && mask.key_lengths == mask_.key_lengths &&
         tensor_.shape() == Shape{causal ? 1 : batch, 1, queries, keys};
}

const Tensor& Attention::dense(const AttentionMask& mask, const Tensor& q, const Tensor& k) {
  const auto found = std::ranges::find_if(
      masks_, [&](const DenseMask& known) { return known.is(mask, q.dim(0), q.dim(1), k.dim(1)); });
  if (found != masks_.end()) return found->tensor();
  if (masks_.size() == kKeptMasks) masks_.erase(masks_.begin());
  masks_.emplace_back(stream_, mask, q.dim(0), q.dim(1), k.dim(1));
  return masks_.back().tensor();
}

std::string Attention::Call::shape_text() const {
  const char* const hidden = mask.kind == AttentionMask::Kind::none ? "whole"
                             : is_padded()                          ? "padded"
                                                                    : "causal";
  return std::string(dtype_name(q.dtype())) + " " + ernie_image::to_string(q.shape()) + " of " +
         ernie_image::to_string(k.shape()) + " " + hidden;
}

/// Limits of the operator's host checks: 16-bit types, heads of whole 32-byte units up to 512, at
/// most 256 of them, at most 64 for each of the keys.
bool Attention::fused_inference_takes(const Call& call) const {
  const bool present = (cann().FusedInferAttentionScoreV2 || cann().FusedInferAttentionScoreV3) &&
                       chip_generation() != ChipGeneration::third;
  const Tensor& q = call.q;
  return present && q.dtype() == DType::bf16 && q.dim(3) % 16 == 0 && q.dim(3) <= 512 &&
         q.dim(2) <= 256 && q.dim(2) / call.k.dim(2) <= 64;
}

/// The training operator has fp32 too, and takes no key lengths.
bool Attention::flash_attention_takes(const Call& call) const {
  return bool(cann().FlashAttentionScore) && call.mask_is_safe() && call.q.dim(3) % 16 == 0 &&
         call.q.dim(3) <= 512 && call.q.dim(2) <= 256;
}

Tensor Attention::operator()(const Tensor& q, const Tensor& k, const Tensor& v, AttentionMask mask,
                             float scale) {
  mask = simplified(std::move(mask), q.dim(1), k.dim(1));
  const Call call = {q, k, v, mask, scale};
  return compute(form_ == AttentionForm::automatic ? fastest_form(call) : form_, call);
}

/// What the operator of the form does not take goes to the next one that does.
Tensor Attention::compute(AttentionForm form, const Call& call) {
  const bool prefers_flash = form == AttentionForm::flash && flash_attention_takes(call);
  const bool wants_mask = form == AttentionForm::mask;
  if (form == AttentionForm::composed) return composed(call);
  if (fused_inference_takes(call) && !prefers_flash && (!wants_mask || call.mask_is_safe()))
    return fused_inference(call, !wants_mask);
  const bool lengths_only = call.is_padded() && form == AttentionForm::lengths;
  if (flash_attention_takes(call) && !lengths_only) return flash_attention(call);
  return composed(call);
}

/// None where only one is there, or the shape is not worth it.
std::vector<AttentionForm> Attention::forms_to_time(const Call& call) const {
  std::vector<AttentionForm> forms;
  if (call.q.dim(1) < 2 || call.q.size() * call.k.dim(1) < least_timed_) return forms;
  if (fused_inference_takes(call)) {
    forms.push_back(AttentionForm::lengths);
    if (call.is_padded()) forms.push_back(AttentionForm::mask);
  }
  if (flash_attention_takes(call)) forms.push_back(AttentionForm::flash);
  if (forms.size() < 2) forms.clear();
  return forms;
}

/// A rehearsal times nothing, and holds what the timing and the largest form hold.
AttentionForm Attention::fastest_form(const Call& call) {
  const std::vector<AttentionForm> forms = forms_to_time(call);
  // What takes padding as lengths, else a mask: an automatic form never is composed for that.
  const AttentionForm usual =
      fused_inference_takes(call) ? AttentionForm::lengths : AttentionForm::mask;
  if (forms.empty()) return usual;
  const std::string chip = chip_name(), release = cann_version();
  if (stream_.device().rehearses()) {
    const auto known = timings_.find(chip, release, call.shape_text());
    if (!known) time_forms(forms, call);
    return known ? form_of(fastest_of(*known), usual) : forms.back();
  }
  const FormTimes times =
      timings_.find_or(chip, release, call.shape_text(), [&] { return time_forms(forms, call); });
  return form_of(fastest_of(times), usual);
}

/// Each twice to warm up, then five times by the card's clock.
FormTimes Attention::time_forms(const std::vector<AttentionForm>& forms, const Call& call) {
  constexpr int kWarmUps = 2, kRuns = 5;
  FormTimes times;
  for (const AttentionForm form : forms) {
    double& milliseconds = times[card::word_of(form, kAttentionForms)] = kRefused;
    try {
      for (int i = 0; i < kWarmUps; ++i) compute(form, call);
      card::QueueTimer timer(stream_);
      timer.start();
      for (int i = 0; i < kRuns; ++i) compute(form, call);
      milliseconds = timer.stop() * 1000 / kRuns;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::device) throw;
      log_message(LogLevel::warning, std::string(error.what()) + "; this form is left out");
    }
  }
  return times;
}

Tensor Attention::fused_inference(const Call& c, bool as_lengths) {
  const Tensor& q = c.q;
  const bool by_lengths = c.is_padded() && as_lengths;
  const Integers lengths = {by_lengths ? c.mask.key_lengths : std::vector<std::int64_t>{},
                            by_lengths};
  const bool masked = c.mask.kind != AttentionMask::Kind::none && !by_lengths;
  const View hidden = masked ? View(dense(c.mask, q, c.k)) : View();
  char layout[] = "BSND";
  const std::int64_t heads = q.dim(2), kv_heads = c.k.dim(2), zero = 0;
  const bool no_lse = false;
  const View none;
  Tensor y = stream_.empty(q.dtype(), q.shape());
  const auto call = [&](const auto& operation, const auto&... rope) {
    stream_.call(operation, q, ViewList{{c.k}}, ViewList{{c.v}}, none, hidden, nullptr, lengths,
                 none, none, none, none, none, none, none, none, none, none, none, none, none, none,
                 none, none, nullptr, rope..., heads, double{c.scale}, kAllTokens, kAllTokens,
                 static_cast<char*>(layout), kv_heads, zero, zero, zero, zero, no_lse, zero, zero,
                 y, nullptr);
  };
  if (cann().FusedInferAttentionScoreV3) {
    call(cann().FusedInferAttentionScoreV3, none, none, none);
  } else {
    call(cann().FusedInferAttentionScoreV2);
  }
  return y.reshaped({q.dim(0), q.dim(1), q.dim(2) * q.dim(3)});
}

/// Layout, statistics, empty third result and inner precision are those of torch_npu, so this is
/// the call that most programs make.
Tensor Attention::flash_attention(const Call& c) {
  const Tensor &q = c.q, &k = c.k;
  const bool masked = c.mask.kind != AttentionMask::Kind::none;
  const View hidden = masked ? View(dense(c.mask, q, k)) : View();
  const Shape statistics = {q.dim(0), q.dim(2), q.dim(1), 8};
  const Tensor largest = stream_.empty(DType::f32, statistics);
  const Tensor sum = stream_.empty(DType::f32, statistics);
  const Tensor probabilities = stream_.empty(q.dtype(), {0});
  const Tensor query = heads_first(q), key = heads_first(k), value = heads_first(c.v);
  const Tensor attended = stream_.empty(q.dtype(), query.shape());
  char layout[] = "BNSD";
  constexpr std::int64_t kPlain = 0, kRepairsHiddenRows = 2;
  const std::int64_t inner_precise = masked && q.dim(1) > 1 ? kRepairsHiddenRows : kPlain;
  const std::int64_t heads = q.dim(2), no_pattern = 0;
  const double keep_all = 1.0;
  const View none;
  stream_.call(cann().FlashAttentionScore, query, key, value, none, none, none, hidden, nullptr,
               double{c.scale}, keep_all, kAllTokens, kAllTokens, heads, static_cast<char*>(layout),
               inner_precise, no_pattern, largest, sum, probabilities, attended);
  const Tensor y = stream_.empty(q.dtype(), q.shape());
  stream_.call(cann().Permute, attended, Integers{{0, 2, 1, 3}}, y);
  return y.reshaped({q.dim(0), q.dim(1), q.dim(2) * q.dim(3)});
}

/// [B, S, heads, D] to [B, heads, S, D].
Tensor Attention::heads_first(const Tensor& x) {
  Tensor y = stream_.empty(x.dtype(), {x.dim(0), x.dim(2), x.dim(1), x.dim(3)});
  stream_.call(cann().Permute, x, Integers{{0, 2, 1, 3}}, y);
  return y;
}

Tensor Attention::composed(const Call& c) {
  const bool is_causal = c.mask.kind == AttentionMask::Kind::causal;
  const Tensor causal = is_causal ? dense(c.mask, c.q, c.k) : Tensor();
  const Tensor y =
      composed_attention(stream_, cast(stream_, c.q, DType::f32), cast(stream_, c.k, DType::f32),
                         cast(stream_, c.v, DType::f32), c.mask.key_lengths, causal, c.scale);
  return cast(stream_, y, c.q.dtype());
}

}  // namespace ernie_image::ascend
