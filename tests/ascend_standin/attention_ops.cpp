#include <algorithm>
#include <cmath>
#include <cstring>

#include "operation.h"

using namespace standin;

namespace {

constexpr std::int64_t kWholeBand = 2147483647;

struct AttentionCall {
  aclTensor query, key, value, out;       // BSND
  std::vector<std::int64_t> key_lengths;  // none, one for all, or one for each row
  bool masked = false;
  aclTensor mask;  // as [B, heads, Sq, Skv] with strides of 0 where it is shared
  double scale = 1;
};

/// One query of one head. `hidden` may be null.
void attend(const float* query, const float* keys, const float* values, const float* hidden,
            std::int64_t count, std::int64_t width, std::int64_t step, double scale, float* out) {
  std::vector<double> weights(static_cast<std::size_t>(count));
  double largest = -INFINITY;
  for (std::int64_t j = 0; j < count; ++j) {
    double dot = 0;
    for (std::int64_t d = 0; d < width; ++d)
      dot += static_cast<double>(query[d]) * keys[j * step + d];
    const bool visible = hidden == nullptr || hidden[j] == 0;
    weights[static_cast<std::size_t>(j)] = visible ? dot * scale : -INFINITY;
    largest = std::max(largest, weights[static_cast<std::size_t>(j)]);
  }
  std::vector<double> sums(static_cast<std::size_t>(width), 0.0);
  double total = 0;
  for (std::int64_t j = 0; j < count; ++j) {
    const double weight = std::exp(weights[static_cast<std::size_t>(j)] - largest);
    total += weight;
    if (weight == 0) continue;
    for (std::int64_t d = 0; d < width; ++d)
      sums[static_cast<std::size_t>(d)] += weight * values[j * step + d];
  }
  for (std::int64_t d = 0; d < width; ++d)
    out[d] = static_cast<float>(sums[static_cast<std::size_t>(d)] / total);
}

void run(const AttentionCall& call) {
  const Values q = read(call.query), k = read(call.key), v = read(call.value);
  const Values hidden = call.masked ? read(call.mask) : Values();
  const std::int64_t queries = call.query.dims[1], heads = call.query.dims[2];
  const std::int64_t keys = call.key.dims[1], kv_heads = call.key.dims[2];
  const std::int64_t width = call.query.dims[3];
  Values result(q.size());
  for (std::int64_t row = 0; row < call.query.dims[0] * queries * heads; ++row) {
    const std::int64_t batch = row / heads / queries, position = row / heads % queries;
    const std::int64_t start = (batch * keys * kv_heads + row % heads / (heads / kv_heads)) * width;
    const std::size_t which = call.key_lengths.size() == 1 ? 0 : static_cast<std::size_t>(batch);
    const std::int64_t count = call.key_lengths.empty() ? keys : call.key_lengths[which];
    const float* const mask =
        call.masked ? hidden.data() + ((batch * heads + row % heads) * queries + position) * keys
                    : nullptr;
    attend(q.data() + row * width, k.data() + start, v.data() + start, mask, count, width,
           kv_heads * width, call.scale, result.data() + row * width);
  }
  write(call.out, result);
}

/// Tensors of the layout as BSND, which may then be strided. What the kernels see must be dense.
void take_layout(Plan& plan, AttentionCall& call, const char* layout) {
  const std::string text = layout == nullptr ? "" : layout;
  plan.require(text == "BSND" || text == "BNSD", "inputLayout is neither BSND nor BNSD");
  for (aclTensor* tensor : {&call.query, &call.key, &call.value, &call.out}) {
    plan.require(tensor->dims.size() == 4, text + " tensors have rank 4");
    plan.require(is_dense(*tensor), "query, key, value and output must be dense");
    if (plan.refused() || text == "BSND") continue;
    std::swap(tensor->dims[1], tensor->dims[2]);
    std::swap(tensor->strides[1], tensor->strides[2]);
  }
}

/// Shapes and heads: what all attention operators check.
void check_common(Plan& plan, AttentionCall& call, std::int64_t heads, const char* layout) {
  take_layout(plan, call, layout);
  if (plan.refused()) return;
  const auto& q = call.query;
  const auto& k = call.key;
  plan.require(k.dims == call.value.dims, "key and value differ in shape");
  plan.require(q.dims[0] == k.dims[0] && q.dims[3] == k.dims[3], "query and key do not fit");
  plan.require(heads == q.dims[2], "numHeads is not that of the query");
  plan.require(q.dtype == k.dtype && q.dtype == call.value.dtype && q.dtype == call.out.dtype,
               "query, key, value and output must have one dtype");
  plan.require(q.dims[2] <= 256, "more than 256 heads");
  plan.require(call.out.dims == q.dims, "the output must be like the query");
}

/// Puts the mask in as [B, heads, Sq, Skv]. `may_have_heads`: one for each of them.
void add_mask(Plan& plan, AttentionCall& call, const aclTensor* mask, bool may_have_heads) {
  call.masked = true;
  call.mask = *mask;
  const std::int64_t batch = call.query.dims[0];
  const std::int64_t queries = call.query.dims[1], keys = call.key.dims[1];
  plan.require(mask->dtype == ACL_BOOL, "the mask must be BOOL");
  plan.require(mask->dims.size() >= 2 && mask->dims.size() <= 4, "the mask has a wrong rank");
  plan.require(queries > 1, "a mask for a single query is not to be trusted");
  if (plan.refused()) return;
  const std::size_t rank = mask->dims.size();
  const std::int64_t mask_batch = rank > 2 ? mask->dims[0] : 1;
  const std::int64_t mask_heads = rank == 4 ? mask->dims[1] : 1;
  plan.require(mask_heads == 1 || (may_have_heads && mask_heads == call.query.dims[2]),
               "the mask has heads");
  plan.require(
      mask_batch == 1 || mask_batch == batch,
      "attenMask batch(" + std::to_string(mask_batch) + ") must be 1 or " + std::to_string(batch));
  plan.require(mask->dims[rank - 2] >= queries,
               "attenMask Q_S(" + std::to_string(mask->dims[rank - 2]) +
                   ") must be larger than sQ(" + std::to_string(queries) + ")");
  plan.require(mask->dims[rank - 1] >= keys,
               "attenMask KV_S(" + std::to_string(mask->dims[rank - 1]) +
                   ") must be larger than sKV(" + std::to_string(keys) + ")");
  call.mask.dims = {batch, call.query.dims[2], queries, keys};
  call.mask.strides = {mask_batch == 1 ? 0 : mask->strides[0],
                       mask_heads == 1 ? 0 : mask->strides[1], mask->strides[rank - 2],
                       mask->strides[rank - 1]};
}

void check_key_lengths(Plan& plan, AttentionCall& call, const aclIntArray* lengths) {
  call.key_lengths = lengths->values;
  const auto count = static_cast<std::int64_t>(lengths->values.size());
  plan.require(count == 1 || count >= call.query.dims[0],
               "actualSeqLengthsKv has " + std::to_string(count) + " entries");
  for (const std::int64_t length : lengths->values)
    plan.require(length >= 0 && length <= call.key.dims[1], "a key length is out of range");
}

struct FusedArguments {
  const aclTensor* query;
  const aclTensorList* key;
  const aclTensorList* value;
  const aclTensor* mask;
  const aclIntArray* key_lengths;
  std::int64_t heads;
  double scale;
  std::int64_t pre_tokens, next_tokens;
  const char* layout;
  std::int64_t kv_heads, sparse_mode;
  const aclTensor* out;
};

void check_fused(Plan& plan, AttentionCall& call, const FusedArguments& a) {
  check_common(plan, call, a.heads, a.layout);
  if (plan.refused()) return;
  const std::int64_t width = call.query.dims[3];
  plan.require(call.query.dtype == ACL_BF16 || call.query.dtype == ACL_FLOAT16,
               "FLOAT is not supported", kTilingRefused);
  plan.require(width % 16 == 0 && width <= 512, "the head size must divide by 16, up to 512",
               kTilingRefused);
  plan.require(
      a.kv_heads == call.key.dims[2] && a.heads % a.kv_heads == 0 && a.heads / a.kv_heads <= 64,
      "numKeyValueHeads is wrong", kTilingRefused);
  plan.require(a.sparse_mode == 0, "sparse modes need a 2048 x 2048 triangle", kTilingRefused);
  if (!plan.refused() && a.mask != nullptr) {
    plan.require(a.pre_tokens == kWholeBand && a.next_tokens == kWholeBand,
                 "the stand-in has no band masks");
    add_mask(plan, call, a.mask, false);
  }
  if (!plan.refused() && a.key_lengths != nullptr) check_key_lengths(plan, call, a.key_lengths);
}

/// FusedInferAttentionScore V2 and V3.
aclnnStatus fused(const char* name, const FusedArguments& a, std::uint64_t* workspace_bytes,
                  aclOpExecutor** executor) {
  constexpr std::uint64_t kSystemWorkspace = std::uint64_t{16} << 20;
  Plan plan(name, kSystemWorkspace);
  plan.require(chip_name().starts_with("Ascend910B3"), "no kernel for " + chip_name(), kNoKernel);
  plan.require(a.key != nullptr && a.value != nullptr && a.key->tensors.size() == 1 &&
                   a.value->tensors.size() == 1,
               "key and value must be lists of one");
  plan.input(a.query, "query");
  if (!plan.refused()) {
    plan.input(a.key->tensors[0], "key");
    plan.input(a.value->tensors[0], "value");
  }
  plan.input(a.mask, "attenMask", true);
  plan.output(a.out, "attentionOut");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  AttentionCall call{*a.query, *a.key->tensors[0], *a.value->tensors[0], *a.out, {}, false, {},
                     a.scale};
  check_fused(plan, call, a);
  return plan.finish(workspace_bytes, executor, [call] { run(call); });
}

}  // namespace

STANDIN_OPERATION(FusedInferAttentionScoreV2, ERNIE_IMAGE_FIA_BEGIN, ERNIE_IMAGE_FIA_END) {
  return fused("aclnnFusedInferAttentionScoreV2",
               {query, key, value, atten_mask, key_lengths, heads, scale, pre_tokens, next_tokens,
                layout, kv_heads, sparse_mode, out},
               workspace_bytes, executor);
}

STANDIN_OPERATION(FusedInferAttentionScoreV3, ERNIE_IMAGE_FIA_BEGIN, const aclTensor* query_rope,
                  const aclTensor* key_rope, const aclTensor* key_rope_antiquant_scale,
                  ERNIE_IMAGE_FIA_END) {
  return fused("aclnnFusedInferAttentionScoreV3",
               {query, key, value, atten_mask, key_lengths, heads, scale, pre_tokens, next_tokens,
                layout, kv_heads, sparse_mode, out},
               workspace_bytes, executor);
}

STANDIN_OPERATION(FlashAttentionScore, const aclTensor* query, const aclTensor* key,
                  const aclTensor* value, const aclTensor*, const aclTensor*, const aclTensor*,
                  const aclTensor* atten_mask, const aclIntArray*, double scale, double keep_prob,
                  std::int64_t pre_tokens, std::int64_t next_tokens, std::int64_t heads,
                  char* layout, std::int64_t inner_precise, std::int64_t sparse_mode,
                  const aclTensor* softmax_max, const aclTensor* softmax_sum,
                  const aclTensor* softmax_out, const aclTensor* out) {
  Plan plan("aclnnFlashAttentionScore", std::uint64_t{16} << 20);
  plan.require(chip_name() != "Ascend910B", "no kernel for " + chip_name(), kNoKernel);
  plan.input(query, "query");
  plan.input(key, "key");
  plan.input(value, "value");
  plan.input(atten_mask, "attenMask", true);
  plan.output(softmax_max, "softmaxMax");
  plan.output(softmax_sum, "softmaxSum");
  plan.output(softmax_out, "softmaxOut");
  plan.output(out, "attentionOut");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  AttentionCall call{*query, *key, *value, *out, {}, false, {}, scale};
  check_common(plan, call, heads, layout);
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  const std::int64_t queries = call.query.dims[1], keys = call.key.dims[1];
  const std::vector<std::int64_t> statistics = {query->dims[0], heads, queries, 8};
  plan.require(softmax_max->dims == statistics && softmax_max->dtype == ACL_FLOAT &&
                   softmax_sum->dims == statistics && softmax_sum->dtype == ACL_FLOAT,
               "softmaxMax and softmaxSum must be FLOAT [B, N, Sq, 8]");
  plan.require(query->dims[3] <= 768 && heads % call.key.dims[2] == 0,
               "head size or heads are wrong");
  plan.require(inner_precise >= 0 && inner_precise <= 2, "there is no such innerPrecise");
  plan.require(
      keep_prob == 1.0 && sparse_mode == 0 && pre_tokens == kWholeBand && next_tokens == kWholeBand,
      "the stand-in has plain attention only");
  if (!plan.refused() && atten_mask != nullptr) {
    const auto& dims = atten_mask->dims;
    const bool exact = dims.size() >= 2 && dims[dims.size() - 2] == queries && dims.back() == keys;
    plan.require(exact, "get unsupported atten_mask shape " + text_of(*atten_mask));
    if (!plan.refused()) add_mask(plan, call, atten_mask, true);
  }
  return plan.finish(workspace_bytes, executor, [call] { run(call); });
}
