#include "pipeline/text_batch.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

namespace ernie_image {
namespace {

using TokenIds = std::vector<std::int32_t>;

constexpr std::size_t kCacheBytes = 16 << 20;  // of the released model: some 1300 tokens

void trace_prompt(Trace* trace, const std::string& group, std::size_t index, const TokenIds& ids,
                  const Tensor& hidden) {
  if (trace == nullptr) return;
  const std::string suffix = "." + group + "." + std::to_string(index);
  if (trace->wants("token_ids" + suffix)) {
    const std::vector<std::int64_t> wide(ids.begin(), ids.end());
    record_tensor(*trace, "token_ids" + suffix,
                  Tensor::copy_of<std::int64_t>(DType::i64, {std::int64_t(wide.size())}, wide));
  }
  if (trace->wants("text_hidden" + suffix)) record_tensor(*trace, "text_hidden" + suffix, hidden);
}

/// Host text states [T_i, E] to one host tensor [rows, max T_i, E].
Tensor pad_rows(const std::vector<Tensor>& rows, std::int64_t longest) {
  const std::int64_t width = rows[0].dim(1);
  Tensor padded = Tensor::host(rows[0].dtype(), {std::int64_t(rows.size()), longest, width});
  if (padded.is_booked()) return padded;
  const std::size_t row_bytes = padded.size_bytes() / rows.size();
  for (std::size_t i = 0; i < rows.size(); ++i)
    std::memcpy(padded.bytes() + i * row_bytes, rows[i].bytes(), rows[i].size_bytes());
  return padded;
}

/// Host [T, E]
Tensor states_tensor(const TextStates& states, DType dtype) {
  const Shape shape = {states.tokens, std::ssize(states.values) / states.tokens};
  return round_to(Tensor::copy_of<float>(DType::f32, shape, std::span<const float>(states.values)),
                  dtype);
}

}  // namespace

const Tensor* TextCache::find(const TokenIds& ids) {
  const auto found = std::ranges::find(entries_, ids, &Entry::ids);
  if (found == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return &entries_.front().hidden;
}

void TextCache::store(const TokenIds& ids, const Tensor& hidden) {
  if (hidden.size_bytes() > kCacheBytes || find(ids) != nullptr) return;
  entries_.push_front({ids, hidden});
  bytes_ += hidden.size_bytes();
  while (bytes_ > kCacheBytes) {
    bytes_ -= entries_.back().hidden.size_bytes();
    entries_.pop_back();
  }
}

TextBatch encode_text(Backend& ops, const TextEncoder& encoder, const ResolvedRequest& plan,
                      const Request& request, DType dtype, TextCache& cache,
                      const std::function<void(int done, int total)>& on_progress) {
  Trace* const trace = request.trace;
  const bool is_inspected = trace != nullptr && trace->wants("text_hidden.prompt.0");
  std::map<TokenIds, Tensor> encoded;
  const int total = static_cast<int>(plan.negative_ids.size() + plan.prompt_ids.size());
  int done = 0;
  std::vector<Tensor> rows;
  TextBatch batch;
  const auto encode_group = [&](const std::string& group, const std::vector<TokenIds>& prompts,
                                const std::vector<TextStates>& given) {
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      Tensor taken = given.empty() ? Tensor() : states_tensor(given[i], dtype);
      Tensor& hidden = given.empty() ? encoded[prompts[i]] : taken;
      if (hidden.empty()) {
        const Tensor* cached = is_inspected ? nullptr : cache.find(prompts[i]);
        hidden =
            cached != nullptr ? *cached : ops.download(encoder.forward(prompts[i], dtype, trace));
        cache.store(prompts[i], hidden);
      }
      trace_prompt(trace, group, i, prompts[i], hidden);
      rows.insert(rows.end(), static_cast<std::size_t>(request.num_images_per_prompt), hidden);
      on_progress(++done, total);
    }
  };
  encode_group("negative", plan.negative_ids, request.negative_prompt_states);
  encode_group("prompt", plan.prompt_ids, request.prompt_states);

  for (const Tensor& row : rows) batch.text_lens.push_back(row.dim(0));
  const Tensor padded = pad_rows(rows, *std::ranges::max_element(batch.text_lens));
  if (trace != nullptr && trace->wants("dit.text_bth"))
    record_tensor(*trace, "dit.text_bth", padded);
  if (trace != nullptr && trace->wants("dit.text_lens")) {
    record_tensor(
        *trace, "dit.text_lens",
        Tensor::copy_of<std::int64_t>(DType::i64, {std::int64_t(rows.size())}, batch.text_lens));
  }
  batch.text_bth = ops.upload(padded);
  return batch;
}

}  // namespace ernie_image
