// cuDNN's fused attention (SDPA). Padding reaches it as lengths on the card, not as a mask.
#include <map>
#include <optional>

#include "backend/cuda/attention.h"
#include "backend/cuda/cudnn_graph.h"

namespace ernie_image::cuda {
namespace {

enum Id : std::int64_t { kQuery = 1, kKey, kValue, kOut, kScale, kQueryLengths, kKeyLengths };

/// What a plan depends on.
struct AttentionKey {
  std::int64_t batch, queries, keys, heads, kv_heads, width;
  bool padded;
  auto operator<=>(const AttentionKey&) const = default;
};

AttentionKey key_of(const AttentionCall& call) {
  return {call.q.dim(0),
          call.q.dim(1),
          call.k.dim(1),
          call.q.dim(2),
          call.k.dim(2),
          call.q.dim(3),
          !call.key_lengths.empty()};
}

/// [B, S, heads, D] in memory, which cuDNN calls [B, heads, S, D].
GraphTensor heads_tensor(std::int64_t id, std::int64_t batch, std::int64_t tokens,
                         std::int64_t heads, std::int64_t width) {
  return {id,
          CUDNN_DATA_BFLOAT16,
          {batch, heads, tokens, width},
          {tokens * heads * width, width, heads * width, 1}};
}

GraphTensor lengths_tensor(std::int64_t id, std::int64_t batch) {
  return {id, CUDNN_DATA_INT32, {batch, 1, 1, 1}, {1, 1, 1, 1}};
}

GraphPlan make_plan(const CudnnHandle& handle, const AttentionKey& key) {
  const Descriptor q = describe(heads_tensor(kQuery, key.batch, key.queries, key.heads, key.width));
  const Descriptor k = describe(heads_tensor(kKey, key.batch, key.keys, key.kv_heads, key.width));
  const Descriptor v = describe(heads_tensor(kValue, key.batch, key.keys, key.kv_heads, key.width));
  const Descriptor out = describe(heads_tensor(kOut, key.batch, key.queries, key.heads, key.width));
  const Descriptor scale = describe(
      {kScale, CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, GraphTensor::Kind::host_scalar});
  std::vector<Descriptor> operations;
  Descriptor& sdpa = operations.emplace_back(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
  sdpa.set(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, q);
  sdpa.set(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, k);
  sdpa.set(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, v);
  sdpa.set(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, out);
  sdpa.set(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, scale);
  std::vector<Descriptor> lengths;
  if (key.padded) {
    lengths.push_back(describe(lengths_tensor(kQueryLengths, key.batch)));
    lengths.push_back(describe(lengths_tensor(kKeyLengths, key.batch)));
    sdpa.set(CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC, lengths[0]);
    sdpa.set(CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC, lengths[1]);
  }
  sdpa.finalize("cuDNN's attention");
  return GraphPlan(handle, operations, true);
}

class CudnnAttention : public LibraryAttention {
 public:
  explicit CudnnAttention(const Stream& stream) : handle_(stream) {}

  bool attend(const Stream& stream, const AttentionCall& call, std::string& why_not) override {
    why_not = refusal(call);
    if (!why_not.empty()) return false;
    if (stream.device().rehearses())
      return !stream.empty(DType::u8, {kRehearsedWorkspaceBytes}).empty();
    const AttentionKey key = key_of(call);
    auto found = plans_.find(key);
    if (found == plans_.end()) found = plans_.emplace(key, planned(key)).first;
    if (!found->second.plan) {
      why_not = found->second.why_not;
      return false;
    }
    execute(stream, call, *found->second.plan);
    return true;
  }

 private:
  /// A plan, or why there is none.
  struct Planned {
    std::optional<GraphPlan> plan;
    std::string why_not;
  };

  /// The node of cuDNN 9.19 has no causal mask; short prompts are all that would need it.
  static std::string refusal(const AttentionCall& call) {
    if (call.q.dtype() != DType::bf16) return "cuDNN's attention is for BF16";
    if (call.causal) return "cuDNN's attention is not used with a causal mask";
    if (call.q.dim(3) % 8 != 0 || call.q.dim(3) > 256)
      return "cuDNN's attention takes heads of up to 256, a multiple of 8";
    return "";
  }

  Planned planned(const AttentionKey& key) const {
    try {
      return {make_plan(handle_, key), ""};
    } catch (const NoPlan& error) {
      return {std::nullopt, error.what()};
    }
  }

  void execute(const Stream& stream, const AttentionCall& call, const GraphPlan& plan) {
    float scale = call.scale;
    Addresses addresses = {{kQuery, call.q.bytes()},
                           {kKey, call.k.bytes()},
                           {kValue, call.v.bytes()},
                           {kOut, call.out.bytes()},
                           {kScale, &scale}};
    if (!call.key_lengths.empty()) {
      addresses.emplace_back(kQueryLengths, call.query_lengths.bytes());
      addresses.emplace_back(kKeyLengths, call.key_lengths.bytes());
    }
    plan.execute(stream, handle_, addresses,
                 "attention of " + described(call.q) + " and " + described(call.k));
  }

  CudnnHandle handle_;
  std::map<AttentionKey, Planned> plans_;
};

}  // namespace

std::unique_ptr<LibraryAttention> make_library_attention(const Stream& stream) {
  return std::make_unique<CudnnAttention>(stream);
}

}  // namespace ernie_image::cuda
