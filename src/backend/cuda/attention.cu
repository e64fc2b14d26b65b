// Fused attention in bf16 on tensor cores. A block takes 128 queries of one head, a warp 16 of
// them; blocks of 64 keys and values pass through shared memory, the next on its way while one is
// used. Scores and sums are float, probabilities are rounded to bf16 before the product with v, as
// the reference rounds them; their sum is taken before.
#include "backend/cuda/attention.h"
#include "backend/cuda/mma.h"

namespace ernie_image::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kQueries = 16 * kWarps;
constexpr int kKeys = 64;
constexpr int kSpare = 8;  // elements at the end of a row: rows begin in different banks

struct Shape4 {
  std::int64_t queries, keys;
  int heads, kv_heads;
};

/// [2 buffers][keys and values][kKeys][D + kSpare]
template <int D>
struct Tiles {
  static constexpr int kRow = D + kSpare;
  static constexpr int kTile = kKeys * kRow;
  static constexpr std::size_t kBytes = std::size_t{4} * kTile * sizeof(bf16);

  __device__ bf16* keys(int buffer) const { return memory + buffer * 2 * kTile; }
  __device__ bf16* values(int buffer) const { return keys(buffer) + kTile; }

  bf16* memory;
};

/// Rows [first, first + kKeys) of a head; those from `end` on become zero.
template <int D>
__device__ __forceinline__ void begin_tile(const bf16* head, std::int64_t stride,
                                           std::int64_t first, std::int64_t end, bf16* tile) {
  constexpr int kVectors = D / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * kVectors; i += kThreads) {
    const int row = i / kVectors, column = i % kVectors * 8;
    const bool inside = first + row < end;
    copy_async(tile + row * Tiles<D>::kRow + column,
               head + (inside ? first + row : 0) * stride + column, inside);
  }
}

/// What a warp knows of its 16 queries: a lane of rows g and g + 8.
template <int D>
struct State {
  std::uint32_t query[D / 16][4];
  float out[D / 8][4];
  float largest[2];
  float sum[2];  // of this lane's columns
};

template <int D>
__device__ __forceinline__ void load_queries(const bf16* head, std::int64_t stride,
                                             std::int64_t first, std::int64_t end, int lane,
                                             State<D>& state) {
  const int g = lane / 4, t = lane % 4;
  for (int step = 0; step < D / 16; ++step) {
    for (int i = 0; i < 4; ++i) {
      const std::int64_t row = first + g + (i % 2) * 8;
      const int column = step * 16 + 2 * t + (i / 2) * 8;
      state.query[step][i] = row < end ? pair_at(head + row * stride + column) : 0u;
    }
  }
  for (int n = 0; n < D / 8; ++n) {
    for (int i = 0; i < 4; ++i) state.out[n][i] = 0;
  }
  for (int half = 0; half < 2; ++half) {
    state.largest[half] = -INFINITY;
    state.sum[half] = 0;
  }
}

/// Scores of the warp's queries and the tile's keys.
template <int D>
__device__ __forceinline__ void multiply_keys(const State<D>& state, const bf16* keys, int lane,
                                              float (&scores)[kKeys / 8][4]) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
    for (int i = 0; i < 4; ++i) scores[n][i] = 0;
    const bf16* const key = keys + (n * 8 + g) * Tiles<D>::kRow + 2 * t;
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      const std::uint32_t b[2] = {pair_at(key + step * 16), pair_at(key + step * 16 + 8)};
      mma_16x8x16(scores[n], state.query[step], b);
    }
  }
}

/// Hides keys from visible[half] on.
__device__ __forceinline__ void hide(float (&scores)[kKeys / 8][4], std::int64_t first_key, int t,
                                     const std::int64_t (&visible)[2]) {
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
    for (int i = 0; i < 4; ++i) {
      if (first_key + n * 8 + 2 * t + i % 2 >= visible[i / 2]) scores[n][i] = -INFINITY;
    }
  }
}

/// Scores become exp((score - largest) * scale); what was summed before shrinks accordingly.
template <int D>
__device__ __forceinline__ void exponentiate(float (&scores)[kKeys / 8][4], float scale_log2,
                                             State<D>& state) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = state.largest[half];
    for (int n = 0; n < kKeys / 8; ++n)
      largest = fmaxf(largest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
    for (int step = 1; step < 4; step *= 2)  // the four lanes of a row
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
    // A row that sees nothing yet keeps zeros: -inf - -inf would be NaN.
    const float base = largest == -INFINITY ? 0.0f : largest;
    const float shrink = exp2f((state.largest[half] - base) * scale_log2);
    float sum = state.sum[half] * shrink;
    for (int n = 0; n < kKeys / 8; ++n) {
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        scores[n][i] = exp2f((scores[n][i] - base) * scale_log2);
        sum += scores[n][i];
      }
    }
    for (int n = 0; n < D / 8; ++n) {
      state.out[n][2 * half] *= shrink;
      state.out[n][2 * half + 1] *= shrink;
    }
    state.largest[half] = largest;
    state.sum[half] = sum;
  }
}

/// out += probabilities * values. Two tiles of scores are, register for register, the left factor.
template <int D>
__device__ __forceinline__ void multiply_values(const float (&scores)[kKeys / 8][4],
                                                const bf16* values, int lane, State<D>& state) {
  // Matrices 0 and 1: keys 0-7 and 8-15 of 8 columns; 2 and 3: the same of the next 8.
  const bf16* const row = values + (lane % 16) * Tiles<D>::kRow + lane / 16 * 8;
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    const float(&low)[4] = scores[2 * step];
    const float(&high)[4] = scores[2 * step + 1];
    const std::uint32_t a[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]),
                                pack(high[2], high[3])};
#pragma unroll
    for (int n = 0; n < D / 8; n += 2) {
      std::uint32_t r[4];
      load_transposed(r, row + step * 16 * Tiles<D>::kRow + n * 8);
      const std::uint32_t left[2] = {r[0], r[1]}, right[2] = {r[2], r[3]};
      mma_16x8x16(state.out[n], a, left);
      mma_16x8x16(state.out[n + 1], a, right);
    }
  }
}

template <int D>
__device__ __forceinline__ void store_out(const State<D>& state, bf16* head, std::int64_t stride,
                                          std::int64_t first, std::int64_t end, int lane) {
  const int g = lane / 4, t = lane % 4;
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half];
    for (int step = 1; step < 4; step *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    const std::int64_t row = first + g + half * 8;
    if (row >= end) continue;
    for (int n = 0; n < D / 8; ++n) {
      *reinterpret_cast<std::uint32_t*>(head + row * stride + n * 8 + 2 * t) =
          pack(state.out[n][2 * half] / sum, state.out[n][2 * half + 1] / sum);
    }
  }
}

/// Bound: operations of the tensor cores, 4 Sq Skv D a head (half of that under a causal mask).
/// Expected: 60 % of their bf16 rate on Ampere; 35 % on Hopper, whose faster instructions (wgmma,
/// fed by TMA) it does not use: cuDNN's is preferred there.
template <int D>
__global__ void __launch_bounds__(kThreads)
    attend(const bf16* q, const bf16* k, const bf16* v, const int* key_lengths, Shape4 shape,
           bool causal, float scale_log2, bf16* out) {
  const Tiles<D> tiles{dynamic_shared<bf16>()};
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t batch = blockIdx.z, head = blockIdx.y;
  const std::int64_t block_query = static_cast<std::int64_t>(blockIdx.x) * kQueries;
  const std::int64_t first_query = block_query + warp * 16;
  const std::int64_t stride = static_cast<std::int64_t>(shape.heads) * D;
  const std::int64_t kv_stride = static_cast<std::int64_t>(shape.kv_heads) * D;
  const bf16* const queries = q + batch * shape.queries * stride + head * D;
  const std::int64_t kv_head = head / (shape.heads / shape.kv_heads);
  const std::int64_t kv_offset = batch * shape.keys * kv_stride + kv_head * D;

  std::int64_t end = key_lengths == nullptr ? shape.keys : key_lengths[batch];
  std::int64_t visible[2] = {end, end};
  if (causal) {
    const std::int64_t shift = shape.keys - shape.queries;
    for (int half = 0; half < 2; ++half) {
      const std::int64_t limit = first_query + lane / 4 + half * 8 + shift + 1;
      visible[half] = limit < end ? limit : end;
    }
    const std::int64_t last = block_query + kQueries + shift;
    end = last < end ? last : end;
  }

  State<D> state;
  load_queries<D>(queries, stride, first_query, shape.queries, lane, state);
  begin_tile<D>(k + kv_offset, kv_stride, 0, end, tiles.keys(0));
  begin_tile<D>(v + kv_offset, kv_stride, 0, end, tiles.values(0));
  commit_copies();
  int buffer = 0;
  for (std::int64_t first = 0; first < end; first += kKeys, buffer ^= 1) {
    if (first + kKeys < end) {
      begin_tile<D>(k + kv_offset, kv_stride, first + kKeys, end, tiles.keys(buffer ^ 1));
      begin_tile<D>(v + kv_offset, kv_stride, first + kKeys, end, tiles.values(buffer ^ 1));
    }
    commit_copies();  // an empty group at the end, so that the count below is right
    wait_copies<1>();
    __syncthreads();
    float scores[kKeys / 8][4];
    multiply_keys<D>(state, tiles.keys(buffer), lane, scores);
    if (first + kKeys > visible[0]) hide(scores, first, lane % 4, visible);
    exponentiate<D>(scores, scale_log2, state);
    multiply_values<D>(scores, tiles.values(buffer), lane, state);
    __syncthreads();  // before the buffer is written again
  }
  bf16* const target = out + batch * shape.queries * stride + head * D;
  store_out<D>(state, target, stride, first_query, shape.queries, lane);
}

}  // namespace

bool fused_attention_takes(const Tensor& q) {
  const std::int64_t width = q.dim(3);
  return q.dtype() == DType::bf16 && (width == 32 || width == 64 || width == 128);
}

void fused_attention(const Stream& stream, const AttentionCall& call) {
  constexpr float kLog2E = 1.4426950408889634f;
  const Shape4 shape{call.q.dim(1), call.k.dim(1), static_cast<int>(call.q.dim(2)),
                     static_cast<int>(call.k.dim(2))};
  const dim3 grid(blocks_for(shape.queries, kQueries), static_cast<unsigned int>(shape.heads),
                  static_cast<unsigned int>(call.q.dim(0)));
  const int* const lengths =
      call.key_lengths.empty() ? nullptr : pointer<const int>(call.key_lengths);
  const auto run = [&](auto width) {
    constexpr int D = decltype(width)::value;
    launch("attention", attend<D>, grid, kThreads, Tiles<D>::kBytes, stream.get(),
           pointer<const bf16>(call.q), pointer<const bf16>(call.k), pointer<const bf16>(call.v),
           lengths, shape, call.causal, call.scale * kLog2E, pointer<bf16>(call.out));
  };
  if (call.q.dim(3) == 128) {
    run(Width<128>());
  } else if (call.q.dim(3) == 64) {
    run(Width<64>());
  } else {
    run(Width<32>());
  }
}

}  // namespace ernie_image::cuda
