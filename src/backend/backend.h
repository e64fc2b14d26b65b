// What a device must do: the whole interface between the models and the hardware.
//
// Model code calls these operations eagerly, in order, on one queue; there is no graph. Tensors
// live in the backend's own memory (`upload` / `download` cross the border). Returned tensors come
// from the backend's caching pool, so that the hot loop allocates nothing.
//
// Letters: B batch rows, S tokens of a row, H width, D width of one head, N image tokens, T text
// tokens. `dtype` of every activation is f32 or bf16. In bf16 an operation computes in float and
// rounds where the reference rounds; each declaration says where. "Rounds" means: to the tensor's
// dtype, to nearest even, and nothing in f32. Errors: Error(unsupported) names operation, type and
// shape; a shape that contradicts this page is a programming mistake (assert).
//
// A device has to have the operations that are `= 0`. The others are those in one go that saves
// reading and writing; their defaults compose the former, rounding for rounding
// (composed_operations.cpp), so that a new device runs before it is fast.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/weight.h"
#include "ernie_image/cancel.h"
#include "ernie_image/precision.h"

namespace ernie_image {

class Ledger;

/// A weight made ready for one backend, which alone knows what is inside.
class PreparedWeight {
 public:
  virtual ~PreparedWeight() = default;
  /// The shape in the file, e.g. [N, K] of a linear layer.
  virtual const Shape& shape() const = 0;
};
using WeightHandle = std::shared_ptr<const PreparedWeight>;

/// How `prepare` may lay a weight out.
enum class WeightUse {
  linear,     ///< [N, K], the right-hand side of `linear`
  conv2d,     ///< [C_out, C_in, kh, kw]
  vector,     ///< norm weights and biases: small, 1-D
  embedding,  ///< [V, H], a table of rows
};

/// Which keys a query may see; never a materialised tensor here.
struct AttentionMask {
  enum class Kind { none, causal, key_lengths };
  Kind kind = Kind::none;
  /// key_lengths: for each batch row, keys [0, length) may be attended to; length >= 1.
  std::vector<std::int64_t> key_lengths;
};

/// Columns [index * H, (index + 1) * H) of `table` [B, n * H]: one of the vectors of a modulation.
struct Chunk {
  const Tensor& table;
  std::int64_t index;
};

/// Rotary tables, rounded to the activation dtype but stored as f32: [R, S, D], R = 1 (shared by
/// all rows) or B. `row_scale` [R, S] multiplies the rotated vectors (Ministral's query scale), or
/// is empty.
struct RotaryTable {
  Tensor cos;
  Tensor sin;
  Tensor row_scale;
};

/// x down^T up^T beside a weight [N, K]: down [R, K], up [N, R].
struct LowRankTerm {
  const PreparedWeight* down;
  const PreparedWeight* up;
};

struct LinearWithTerms {
  const PreparedWeight* weight;          ///< [N, K]
  const PreparedWeight* bias = nullptr;  ///< [N], or null
  std::vector<LowRankTerm> terms = {};
};

enum class Activation { none, silu };

/// A band of the rows of a picture, [B, rows, W, C], and the bands it borders on; null at the
/// picture's edge.
struct ImageBand {
  const Tensor& rows;
  const Tensor* above = nullptr;
  const Tensor* below = nullptr;
};

/// What GroupNorm has to know of the whole picture.
struct GroupStatistics {
  int groups;
  float eps;
  /// f32 [B, groups, 2]: mean and 1 / sqrt(variance + eps). Empty where a backend leaves it to the
  /// norm itself, which then sees the picture in one band.
  Tensor values;
};

/// GroupNorm and silu, each rounded, ahead of a convolution.
struct ConvNorm {
  const GroupStatistics& statistics;
  const PreparedWeight& weight;  // [C]
  const PreparedWeight& bias;    // [C]
};

/// What a convolution does on the way; by default nothing.
struct ConvFusion {
  const ConvNorm* norm = nullptr;    ///< convolves the normed picture
  bool upsample = false;             ///< convolves the picture with every pixel repeated 2 x 2
  const Tensor* residual = nullptr;  ///< is added to the rounded result, and rounded
};

/// One device queue. Not for concurrent use.
class Backend {
 public:
  virtual ~Backend() = default;

  /// "cpu", "cuda:0"...
  virtual std::string name() const = 0;

  /// Polled during long operations, which then throw Error(cancelled); null for none.
  virtual void set_cancel_token(std::shared_ptr<const CancelToken> token) = 0;

  /// Bytes of activations held at most so far, and a way to start counting anew.
  virtual std::size_t peak_memory_bytes() const = 0;
  virtual void reset_peak_memory() = 0;

  /// Gives cached free memory back to the system.
  virtual void release_cache() = 0;

  /// Said where blocks of other sizes will be asked for: devices whose free blocks serve only
  /// requests of their own size give them back to the system.
  virtual void sizes_change() { release_cache(); }

  /// What a plan has decided for a stage on a device with memory of its own.
  struct StageRoom {
    std::uint64_t bytes = UINT64_MAX;    ///< of everything that this backend holds there
    std::uint64_t activation_bytes = 0;  ///< of that, beside weights
    bool streams_layers = false;         ///< two layers at a time are there
  };
  /// A stage (text encoder, transformer...) begins.
  virtual void begin_stage(const StageRoom& /*room*/) {}
  /// The stage is done: a device with copies of its weights may give these up, and takes them from
  /// the file again when they are used.
  virtual void end_stage() {}

  struct DeviceMemory {
    std::uint64_t free_bytes, total_bytes;
    std::uint64_t held_bytes;  ///< by this backend: weights, activations, workspaces
    std::uint64_t peak_bytes;  ///< of that, since `reset_peak_memory`
  };
  /// Nothing for a device that computes in the host's memory.
  virtual std::optional<DeviceMemory> device_memory() const { return std::nullopt; }

  /// Measures the work between two calls.
  class Timer {
   public:
    virtual ~Timer() = default;
    virtual void start() = 0;
    /// Seconds since `start`, when what was queued between is done: on a device, by its own clock.
    virtual double stop() = 0;
  };
  virtual std::unique_ptr<Timer> make_timer();

  /// One like this that does everything but the work: for a rehearsal, whose allocators enter what
  /// they would hold into `ledger`. It gives tensors that are booked (core/ledger.h) and takes
  /// weights whose data are pages of the ledger. A device with memory of its own then has
  /// `room_bytes` of it, and treats weights as --offload says, or as this one does if empty.
  virtual std::unique_ptr<Backend> rehearsal(const Ledger& ledger, std::uint64_t room_bytes,
                                             const std::string& offload) const = 0;

  using Step = std::function<Tensor(std::span<const Tensor> inputs)>;

  /// step(inputs), which is going to be asked for again with other values of the same shapes: a
  /// device may record what was queued and queue the record from then on. For this the step must
  /// read nothing but `inputs`, `constants` and prepared weights, upload nothing whose value
  /// changes, and be told from other steps by its constants, which are kept until end_stage().
  virtual Tensor repeat(std::span<const Tensor> inputs,
                        [[maybe_unused]] std::span<const Tensor> constants, const Step& step) {
    return step(inputs);
  }

  // ---- memory ------------------------------------------------------------------------------

  /// Uninitialised memory from the pool.
  virtual Tensor empty(DType dtype, Shape shape) = 0;
  virtual Tensor upload(const Tensor& host) = 0;
  /// Waits for the queue.
  virtual Tensor download(const Tensor& tensor) = 0;
  /// The CPU keeps the mapped pages of linear weights as they are; a device uploads. A weight
  /// without data (see WeightSource::get) gives a handle that must not be used.
  /// A quantised linear weight is a copy in memory, and the file is not read again.
  virtual WeightHandle prepare(const Weight& weight, WeightUse use,
                               Quantization quantization = Quantization::none) = 0;

  // ---- dense layers ------------------------------------------------------------------------

  /// y[..., N] = x[..., K] W[N, K]^T (+ bias[N]), accumulated in float, rounded once.
  virtual Tensor linear(const Tensor& x, const PreparedWeight& weight,
                        const PreparedWeight* bias = nullptr) = 0;

  /// Several layers without bias that read the same x, in one go: q, k, v or gate, up.
  virtual std::vector<Tensor> linear_together(const Tensor& x,
                                              const std::vector<const PreparedWeight*>& weights);

  /// Several layers that read the same x, each with terms of low rank beside it: y = x W^T (+
  /// bias), rounded, and for each term in order y + (x down^T rounded) up^T rounded, rounded.
  virtual std::vector<Tensor> linear_with_terms(const Tensor& x,
                                                std::span<const LinearWithTerms> layers);

  /// Rows of `table` [V, H]: [T, H] in `dtype`. Every id is in [0, V).
  virtual Tensor embedding(std::span<const std::int32_t> ids, const PreparedWeight& table,
                           DType dtype) = 0;

  // ---- norms and element-wise --------------------------------------------------------------

  /// x * rsqrt(mean(x^2) + eps) over the last axis, rounded; times weight, rounded. x: [..., H].
  virtual Tensor rms_norm(const Tensor& x, const PreparedWeight& weight, float eps) = 0;

  /// rms_norm as above, then * (1 + scale) + shift in float, rounded once more. x: [B, S, H].
  virtual Tensor rms_norm_modulate(const Tensor& x, const PreparedWeight& weight, float eps,
                                   Chunk scale, Chunk shift);

  /// LayerNorm without affine, rounded; (1 + scale) rounded; their product rounded; + shift
  /// rounded. x: [B, S, H].
  virtual Tensor layer_norm_modulate(const Tensor& x, float eps, Chunk scale, Chunk shift);

  /// x: [B, S, heads, D]. If `norm_weight` [D]: RMSNorm over D, times weight in float, rounded
  /// once. Then the half-split rotation out = x * cos + rotate(x) * sin, rotate(x) = [-second half,
  /// first half]: both products and the sum are rounded. Then times row_scale, if any, rounded.
  /// A table whose cos is empty means no rotation.
  virtual Tensor norm_rope(const Tensor& x, const PreparedWeight* norm_weight, float eps,
                           const RotaryTable& rotary) = 0;

  /// softmax(q k^T * scale + mask) v with float softmax and accumulation, rounded once; a device
  /// may round the probabilities as well, as the reference does. q: [B, Sq, heads, D]; k, v: [B,
  /// Skv, kv_heads, D]; query head h uses kv head h / (heads / kv_heads). causal: query i sees keys
  /// [0, i + Skv - Sq]. Result: [B, Sq, heads * D].
  virtual Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v,
                           const AttentionMask& mask, float scale) = 0;

  /// gelu(gate), times up, rounded.
  virtual Tensor gelu_mul(const Tensor& gate, const Tensor& up);

  /// silu(gate), times up, rounded.
  virtual Tensor silu_mul(const Tensor& gate, const Tensor& up);

  /// x + (gate * y rounded), rounded. x, y: [B, S, H]; gate chooses [H] per batch row.
  virtual Tensor gated_add(const Tensor& x, Chunk gate, const Tensor& y);

  /// a + b, rounded; equal shapes.
  virtual Tensor add(const Tensor& a, const Tensor& b) = 0;

  /// a * b, rounded; equal shapes.
  virtual Tensor multiply(const Tensor& a, const Tensor& b) = 0;

  /// x/2 (1 + erf(x / sqrt 2)), the exact form, rounded.
  virtual Tensor gelu(const Tensor& x) = 0;

  /// x / (1 + exp(-x)), rounded.
  virtual Tensor silu(const Tensor& x) = 0;

  /// To f32 or bf16; the tensor itself if it is that already.
  virtual Tensor cast(const Tensor& x, DType dtype) = 0;

  // ---- layout ------------------------------------------------------------------------------

  /// [B, N, H] and [B, T, H] to [B, N + T, H].
  virtual Tensor concat_rows(const Tensor& a, const Tensor& b) = 0;

  /// x[:, begin : begin + count, :] of [B, S, H].
  virtual Tensor slice_rows(const Tensor& x, std::int64_t begin, std::int64_t count) = 0;

  /// Copies `rows` [n, ...] over target[begin : begin + n]: the only operation that changes a
  /// tensor, for key and value caches.
  virtual void write_rows(Tensor& target, std::int64_t begin, const Tensor& rows) = 0;

  /// [B, R, C] to [B, C, R]: latents [B, C, h*w] to tokens [B, h*w, C] and back.
  virtual Tensor transpose_rows(const Tensor& x) = 0;

  // ---- images: always [B, H, W, C] ---------------------------------------------------------

  /// Square kernel of 1 or 3, stride 1, zero padding that keeps H and W; bias [C_out]; rounded
  /// once.
  virtual Tensor conv2d(const Tensor& x, const PreparedWeight& weight,
                        const PreparedWeight& bias) = 0;

  /// GroupNorm over (H, W, C / groups) with biased variance and affine, rounded; then the
  /// activation, rounded.
  virtual Tensor group_norm(const Tensor& x, const PreparedWeight& weight,
                            const PreparedWeight& bias, int groups, float eps,
                            Activation activation) = 0;

  virtual Tensor upsample_nearest2x(const Tensor& x) = 0;

  /// 3x3 kernel, stride 2, zeros only to the right and below, so that y[i, j] sums x[2i .. 2i + 2,
  /// 2j .. 2j + 2]: [B, H, W, C] to [B, H / 2, W / 2, C_out], both rounded down; bias [C_out];
  /// rounded once. For a backend that takes bands x may be one: of an even number of rows, but for
  /// the last.
  virtual Tensor conv2d_stride2(const ImageBand& x, const PreparedWeight& weight,
                                const PreparedWeight& bias) = 0;

  // ---- images in bands of rows -------------------------------------------------------------
  // A picture whose tensors would be too large is cut into bands, which one by one are made and
  // freed. A backend that prefers whole pictures need not do anything: what is here composes the
  // operations above.

  /// Whether large pictures should come in bands.
  virtual bool takes_bands() const { return false; }

  /// Statistics of the picture that the bands make up, top to bottom.
  virtual GroupStatistics group_statistics(std::span<const Tensor> bands, int groups, float eps);

  /// `conv2d` of a band, after and before what `fusion` says. Zeros are only beyond the picture.
  virtual Tensor conv2d_band(const ImageBand& x, const PreparedWeight& weight,
                             const PreparedWeight& bias, const ConvFusion& fusion);
};

}  // namespace ernie_image
