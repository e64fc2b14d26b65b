// The attention kernel as a template over a vector policy V (see simd.h for the rules).
//
// Queries lie along the lanes: scores are computed transposed, [keys][queries of a panel], and so
// is the result, [D][queries of a panel]. Both products then are the same register tile, the left
// factor (keys, values) broadcast, the right one (queries, probabilities) read from a panel in the
// first-level cache; and maximum, sum and rescaling of the online softmax need no shuffles.
#pragma once

#include "backend/cpu/attention.h"
#include "backend/cpu/elementwise_math.inc.h"
#include "backend/cpu/simd.h"

namespace ernie_image {

/// Block sizes and the scratch memory of one task.
template <class V>
struct AttentionLayout {
  static constexpr int kRegisters = V::kTileRows * V::kTileVectors;
  static constexpr int kRows = kRegisters >= 24 ? 8 : 4;  // of a tile: 8 x 3, 4 x 3 or 4 x 2
  static constexpr int kVectors = kRegisters / kRows;
  static constexpr int kPanel = kVectors * V::kWidth;  // queries of a panel

  static constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) {
    return (n + unit - 1) / unit * unit;
  }

  /// head_dim padded to whole vectors and tiles.
  static constexpr std::int64_t depth(std::int64_t head_dim) {
    return round_up(head_dim, V::kWidth > kRows ? V::kWidth : kRows);
  }
  /// Keys of a block: the panel of probabilities stays in the first-level cache, the block of keys
  /// and values in the second.
  static constexpr std::int64_t keys(std::int64_t head_dim) {
    return round_up(clamp(16384 / depth(head_dim), 32, 128), kRows);
  }
  /// Rows of a task: so many that fetching keys and values anew for each task hardly counts.
  static constexpr std::int64_t rows(std::int64_t head_dim) {
    return round_up(clamp(98304 / depth(head_dim), 64, 768), kPanel);
  }
  /// Floats of a panel of values. The extra cache line spreads the panels over the cache's sets.
  static constexpr std::int64_t value_panel(std::int64_t head_dim) {
    return keys(head_dim) * kRows + 16;
  }

  static constexpr std::int64_t scratch_floats(std::int64_t head_dim) {
    const std::int64_t row_floats = 2 * depth(head_dim) + 3;  // query, result, three statistics
    return rows(head_dim) * row_floats + keys(head_dim) * (depth(head_dim) + kPanel) +
           depth(head_dim) / kRows * value_panel(head_dim);
  }

 private:
  static constexpr std::int64_t clamp(std::int64_t n, std::int64_t low, std::int64_t high) {
    return n < low ? low : (n > high ? high : n);
  }
};

/// acc[r][j] += sum over k of left[r * row_stride + k * step] * panel[k * kPanel + j * kWidth]
template <class V, int kRows, int kVectors>
ERNIE_IMAGE_SIMD void accumulate_tile(const float* left, std::int64_t row_stride, std::int64_t step,
                                      const float* panel, std::int64_t depth,
                                      typename V::Vec (&acc)[kRows][kVectors]) {
  for (std::int64_t k = 0; k < depth; ++k) {
    typename V::Vec right[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) right[j] = V::load(panel + j * V::kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const typename V::Vec x = V::broadcast(left[r * row_stride]);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) acc[r][j] = V::fma(x, right[j], acc[r][j]);
    }
    left += step;
    panel += kVectors * V::kWidth;
  }
}

/// One task: activations of type T.
template <class V, class T>
class AttentionBlock {
  using Layout = AttentionLayout<V>;
  using Vec = typename V::Vec;
  static constexpr int kRows = Layout::kRows;
  static constexpr int kVectors = Layout::kVectors;
  static constexpr int kPanel = Layout::kPanel;
  static constexpr int kAhead = 4;  // rows to prefetch ahead

 public:
  static void run(const AttentionTask& task, float* scratch) {
    AttentionBlock block(task, scratch);
    block.load_queries();
    const std::int64_t end = block.visible_keys(task.row_end - 1);
    for (std::int64_t key = 0; key < end; key += block.max_keys_) {
      const std::int64_t count = end - key < block.max_keys_ ? end - key : block.max_keys_;
      block.load_keys(key, count);
      block.load_values(key, count);
      for (std::int64_t row = 0; row < block.rows_; row += kPanel) {
        block.attend(row, key, count);
      }
    }
    block.store_result();
  }

 private:
  AttentionBlock(const AttentionTask& task, float* scratch)
      : task_(task),
        rows_(task.row_end - task.row_begin),
        depth_(Layout::depth(task.head_dim)),
        max_keys_(Layout::keys(task.head_dim)),
        value_panel_(Layout::value_panel(task.head_dim)) {
    const std::int64_t padded = Layout::rows(task.head_dim);
    queries_ = scratch;
    result_ = queries_ + padded * depth_;
    keys_ = result_ + padded * depth_;
    values_ = keys_ + max_keys_ * depth_;
    scores_ = values_ + depth_ / kRows * value_panel_;
    maximum_ = scores_ + max_keys_ * kPanel;
    sum_ = maximum_ + padded;
    last_key_ = sum_ + padded;
  }

  const T* query_row(std::int64_t row) const {
    return static_cast<const T*>(task_.q) + row / task_.group * task_.query_stride +
           row % task_.group * task_.head_dim;
  }
  T* result_row(std::int64_t row) const {
    return static_cast<T*>(task_.y) + row / task_.group * task_.query_stride +
           row % task_.group * task_.head_dim;
  }

  /// Keys [0, visible_keys(row)) are those that a row of the task sees.
  std::int64_t visible_keys(std::int64_t row) const {
    const std::int64_t causal = row / task_.group + task_.causal_offset + 1;
    return causal < task_.num_keys ? causal : task_.num_keys;
  }

  /// `lanes` elements, zeros beyond; lanes may exceed a vector or be none.
  template <class From>
  static Vec load_clipped(const From* p, std::int64_t lanes) {
    if (lanes >= V::kWidth) return V::load(p);
    return lanes > 0 ? V::load_partial(p, static_cast<int>(lanes)) : V::zero();
  }

  /// queries_: panels [depth][kPanel], times scale * log2(e), so that probabilities are powers of
  /// two. Lanes beyond the last row are zero.
  void load_queries() {
    const Vec scale = V::broadcast(task_.scale * 1.44269504f);
    const std::int64_t padded = Layout::round_up(rows_, kPanel);
    for (std::int64_t row = 0; row < padded; row += V::kWidth) {
      float* target = queries_ + row / kPanel * kPanel * depth_ + row % kPanel;
      for (std::int64_t d = 0; d < depth_; d += V::kWidth) {
        Vec block[V::kWidth];
        for (int i = 0; i < V::kWidth; ++i) {
          block[i] = row + i < rows_ ? V::mul(scale, load_query(row + i, d)) : V::zero();
        }
        V::transpose(block);
        for (int i = 0; i < V::kWidth; ++i) V::store(target + (d + i) * kPanel, block[i]);
      }
    }
    for (std::int64_t row = 0; row < padded; ++row) {
      const std::int64_t inside = row < rows_ ? row : rows_ - 1;
      maximum_[row] = -3.0e38f;
      sum_[row] = 0.0f;
      last_key_[row] = static_cast<float>(visible_keys(task_.row_begin + inside) - 1);
    }
    for (std::int64_t i = 0; i < padded * depth_; ++i) result_[i] = 0.0f;
  }

  Vec load_query(std::int64_t row, std::int64_t d) const {
    return load_clipped(query_row(task_.row_begin + row) + d, task_.head_dim - d);
  }

  /// Rows of one head lie pages apart, where the processor does not fetch ahead by itself.
  void prefetch(const T* row) const {
    constexpr std::int64_t kLine = 64 / sizeof(T);
    for (std::int64_t d = 0; d < task_.head_dim; d += kLine) __builtin_prefetch(row + d);
  }

  /// keys_: [count rounded up to tiles][depth], zeros beyond.
  void load_keys(std::int64_t first, std::int64_t count) {
    const T* source = static_cast<const T*>(task_.k) + first * task_.key_stride;
    for (std::int64_t key = 0; key < Layout::round_up(count, kRows); ++key) {
      const std::int64_t width = key < count ? task_.head_dim : 0;
      if (key + kAhead < count) prefetch(source + kAhead * task_.key_stride);
      for (std::int64_t d = 0; d < depth_; d += V::kWidth) {
        V::store(keys_ + key * depth_ + d, load_clipped(source + d, width - d));
      }
      if (key + 1 < count) source += task_.key_stride;
    }
  }

  /// values_: depth / kRows panels [max_keys_][kRows], so that a tile reads one stream.
  void load_values(std::int64_t first, std::int64_t count) {
    const T* source = static_cast<const T*>(task_.v) + first * task_.key_stride;
    for (std::int64_t key = 0; key < count; ++key, source += task_.key_stride) {
      if (key + kAhead < count) prefetch(source + kAhead * task_.key_stride);
      for (std::int64_t d = 0; d < depth_; d += V::kWidth) {
        store_value(key, d, load_clipped(source + d, task_.head_dim - d));
      }
    }
  }

  void store_value(std::int64_t key, std::int64_t d, Vec value) {
    if constexpr (V::kWidth <= kRows) {
      V::store(values_ + d / kRows * value_panel_ + key * kRows + d % kRows, value);
    } else {
      float lanes[V::kWidth];
      V::store(lanes, value);
#pragma GCC unroll 4
      for (int i = 0; i < V::kWidth; i += kRows) {
        __builtin_memcpy(values_ + (d + i) / kRows * value_panel_ + key * kRows, lanes + i,
                         kRows * sizeof(float));
      }
    }
  }

  /// A panel of queries against a block of keys.
  void attend(std::int64_t row, std::int64_t first, std::int64_t count) {
    const std::int64_t last_row = row + kPanel < rows_ ? row + kPanel - 1 : rows_ - 1;
    const std::int64_t visible = visible_keys(task_.row_begin + last_row) - first;
    if (visible <= 0) return;
    const std::int64_t used = visible < count ? visible : count;
    score(queries_ + row * depth_, used);
    if (visible_keys(task_.row_begin + row) < first + used) mask(row, first, used);
    float rescale[kPanel];
    soften(row, used, rescale);
    add_values(result_ + row * depth_, used, rescale);
  }

  /// scores_ [keys][kPanel] = keys_ * queries
  void score(const float* queries, std::int64_t keys) {
    for (std::int64_t key = 0; key < keys; key += kRows) {
      Vec acc[kRows][kVectors];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) acc[r][j] = V::zero();
      }
      accumulate_tile<V>(keys_ + key * depth_, depth_, 1, queries, task_.head_dim, acc);
      store_tile(scores_ + key * kPanel, acc);
    }
  }

  static void store_tile(float* target, const Vec (&acc)[kRows][kVectors]) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) V::store(target + r * kPanel + j * V::kWidth, acc[r][j]);
    }
  }

  /// Scores of keys beyond last_key_ become so small that their probability is 2^-126.
  void mask(std::int64_t row, std::int64_t first, std::int64_t keys) {
    const Vec hidden = V::broadcast(-3.0e38f);
    for (std::int64_t key = 0; key < keys; ++key) {
      const Vec index = V::broadcast(static_cast<float>(first + key));
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        float* score = scores_ + key * kPanel + j * V::kWidth;
        const Vec last = V::load(last_key_ + row + j * V::kWidth);
        V::store(score, V::select(V::less(last, index), hidden, V::load(score)));
      }
    }
  }

  /// Online softmax: scores become 2^(score - maximum so far); `rescale` is what earlier sums and
  /// results are to be multiplied by.
  void soften(std::int64_t row, std::int64_t keys, float* rescale) {
    Vec maximum[kVectors];
    Vec sum[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) maximum[j] = V::load(maximum_ + row + j * V::kWidth);
    for (std::int64_t key = 0; key < keys; ++key) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        maximum[j] = V::max(maximum[j], V::load(scores_ + key * kPanel + j * V::kWidth));
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      float* const before = maximum_ + row + j * V::kWidth;
      const Vec factor = exp2_bounded<V>(V::sub(V::load(before), maximum[j]));
      V::store(before, maximum[j]);
      V::store(rescale + j * V::kWidth, factor);
      sum[j] = V::mul(V::load(sum_ + row + j * V::kWidth), factor);
    }
    for (std::int64_t key = 0; key < keys; ++key) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        float* const score = scores_ + key * kPanel + j * V::kWidth;
        const Vec probability = exp2_bounded<V>(V::sub(V::load(score), maximum[j]));
        V::store(score, probability);
        sum[j] = V::add(sum[j], probability);
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) V::store(sum_ + row + j * V::kWidth, sum[j]);
  }

  /// result [depth][kPanel] = result * rescale + values_^T * scores_
  void add_values(float* result, std::int64_t keys, const float* rescale) {
    for (std::int64_t d = 0; d < task_.head_dim; d += kRows, result += kRows * kPanel) {
      Vec acc[kRows][kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        const Vec factor = V::load(rescale + j * V::kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          acc[r][j] = V::mul(V::load(result + r * kPanel + j * V::kWidth), factor);
        }
      }
      accumulate_tile<V>(values_ + d / kRows * value_panel_, 1, kRows, scores_, keys, acc);
      store_tile(result, acc);
    }
  }

  /// Divides by the sums, transposes back and rounds.
  void store_result() {
    for (std::int64_t row = 0; row < rows_; row += V::kWidth) {
      const float* source = result_ + row / kPanel * kPanel * depth_ + row % kPanel;
      const Vec inverse = V::div(V::broadcast(1.0f), V::load(sum_ + row));
      const std::int64_t rows = rows_ - row < V::kWidth ? rows_ - row : V::kWidth;
      for (std::int64_t d = 0; d < task_.head_dim; d += V::kWidth) {
        Vec block[V::kWidth];
        for (int i = 0; i < V::kWidth; ++i) {
          block[i] = V::mul(V::load(source + (d + i) * kPanel), inverse);
        }
        V::transpose(block);
        const std::int64_t width = task_.head_dim - d;
        for (int i = 0; i < rows; ++i) {
          store_clipped(result_row(task_.row_begin + row + i) + d, block[i], width);
        }
      }
    }
  }

  static void store_clipped(T* target, Vec v, std::int64_t lanes) {
    if (lanes >= V::kWidth) {
      V::store(target, v);
    } else {
      V::store_partial(target, v, static_cast<int>(lanes));
    }
  }

  const AttentionTask& task_;
  const std::int64_t rows_;
  const std::int64_t depth_;
  const std::int64_t max_keys_;
  const std::int64_t value_panel_;
  float* queries_;  // panels [depth][kPanel]
  float* result_;   // panels [depth][kPanel]
  float* keys_;     // [max_keys][depth]
  float* values_;   // panels [max_keys][kRows], value_panel_ floats apart
  float* scores_;   // [max_keys][kPanel]
  float* maximum_;  // by row, as are the next two
  float* sum_;
  float* last_key_;  // the last one that the row sees
};

template <class V>
AttentionKernels make_attention_kernels() {
  using Layout = AttentionLayout<V>;
  return {Layout::rows, Layout::kPanel, Layout::scratch_floats, AttentionBlock<V, float>::run,
          AttentionBlock<V, Bf16>::run};
}

}  // namespace ernie_image
