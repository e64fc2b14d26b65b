#include "verify/oracle.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "core/half.h"

namespace ernie_image::oracle {
namespace {

/// A tensor's elements as double, and back. Every store rounds to the dtype.
class Values {
 public:
  explicit Values(const Tensor& host) : Values(host.dtype(), host.shape()) {
    const Tensor wide = to_float(host);
    values_.assign(wide.span<float>().begin(), wide.span<float>().end());
  }
  Values(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)) {
    values_.resize(static_cast<std::size_t>(num_elements(shape_)));
  }

  std::int64_t dim(int axis) const { return shape_.at(static_cast<std::size_t>(axis)); }
  std::int64_t size() const { return static_cast<std::int64_t>(values_.size()); }
  double operator[](std::int64_t i) const { return values_.at(static_cast<std::size_t>(i)); }
  void set(std::int64_t i, double value) { values_.at(static_cast<std::size_t>(i)) = round(value); }

  /// To the dtype.
  double round(double value) const {
    const auto single = static_cast<float>(value);
    return dtype_ == DType::bf16 ? round_to_bf16(single) : single;
  }

  Tensor tensor() const {
    Tensor wide = Tensor::host(DType::f32, shape_);
    std::copy(values_.begin(), values_.end(), wide.span<float>().begin());
    return round_to(wide, dtype_);
  }

 private:
  DType dtype_;
  Shape shape_;
  std::vector<double> values_;
};

/// result[i] = function(i), for every element of a tensor like `x`.
template <class Function>
Tensor map(const Tensor& x, const Function& function) {
  Values result(x.dtype(), x.shape());
  for (std::int64_t i = 0; i < result.size(); ++i) result.set(i, function(i));
  return result.tensor();
}

/// Element of a modulation vector for element i of x [B, S, H].
class ChunkValues {
 public:
  ChunkValues(const Chunk& chunk, const Tensor& x)
      : table_(chunk.table), width_(x.dim(2)), row_size_(x.dim(1) * width_), index_(chunk.index) {}
  double operator[](std::int64_t i) const {
    return table_[i / row_size_ * table_.dim(1) + index_ * width_ + i % width_];
  }

 private:
  Values table_;
  std::int64_t width_;
  std::int64_t row_size_;
  std::int64_t index_;
};

/// 1 / sqrt(mean of (x - centre)^2 + eps) over [begin, begin + count).
double inverse_deviation(const Values& x, std::int64_t begin, std::int64_t count, double centre,
                         double eps) {
  double squares = 0;
  for (std::int64_t i = begin; i < begin + count; ++i) squares += (x[i] - centre) * (x[i] - centre);
  return 1.0 / std::sqrt(squares / static_cast<double>(count) + eps);
}

double mean_of(const Values& x, std::int64_t begin, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = begin; i < begin + count; ++i) sum += x[i];
  return sum / static_cast<double>(count);
}

double silu_of(double x) { return x / (1.0 + std::exp(-x)); }

double gelu_of(double x, GeluForm form) {
  if (form == GeluForm::exact) return 0.5 * x * std::erfc(-x * std::sqrt(0.5));
  const double z = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return x / (1 + std::exp(-2 * z));  // x/2 (1 + tanh z), of which nothing is left where z is small
}

}  // namespace

Tensor embedding(std::span<const std::int32_t> ids, const Tensor& table, DType dtype) {
  const Values rows(table);
  const std::int64_t width = rows.dim(1);
  Values result(dtype, {static_cast<std::int64_t>(ids.size()), width});
  for (std::int64_t i = 0; i < result.size(); ++i) {
    result.set(i, rows[ids[static_cast<std::size_t>(i / width)] * width + i % width]);
  }
  return result.tensor();
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  const Values in(x);
  const Values w(weight);
  const std::int64_t width = w.size();
  Values result(x.dtype(), x.shape());
  for (std::int64_t row = 0; row < in.size(); row += width) {
    const double factor = inverse_deviation(in, row, width, 0.0, eps);
    for (std::int64_t i = 0; i < width; ++i) {
      result.set(row + i, in.round(in[row + i] * factor) * w[i]);
    }
  }
  return result.tensor();
}

Tensor rms_norm_modulate(const Tensor& x, const Tensor& weight, double eps, Chunk scale,
                         Chunk shift) {
  const Values norm(rms_norm(x, weight, eps));
  const ChunkValues factor(scale, x);
  const ChunkValues offset(shift, x);
  return map(x, [&](std::int64_t i) { return norm[i] * (1.0 + factor[i]) + offset[i]; });
}

Tensor layer_norm_modulate(const Tensor& x, double eps, Chunk scale, Chunk shift) {
  const Values in(x);
  const ChunkValues factor(scale, x);
  const ChunkValues offset(shift, x);
  const std::int64_t width = x.dim(2);
  Values result(x.dtype(), x.shape());
  for (std::int64_t row = 0; row < in.size(); row += width) {
    const double mean = mean_of(in, row, width);
    const double deviation = inverse_deviation(in, row, width, mean, eps);
    for (std::int64_t i = row; i < row + width; ++i) {
      const double norm = in.round((in[i] - mean) * deviation);
      result.set(i, in.round(norm * in.round(1.0 + factor[i])) + offset[i]);
    }
  }
  return result.tensor();
}

namespace {

/// RMSNorm of each head vector, rounded once.
Tensor norm_heads(const Tensor& x, const Tensor& weight, double eps) {
  const Values in(x);
  const Values w(weight);
  Values result(x.dtype(), x.shape());
  for (std::int64_t head = 0; head < in.size(); head += w.size()) {
    const double factor = inverse_deviation(in, head, w.size(), 0.0, eps);
    for (std::int64_t d = 0; d < w.size(); ++d) result.set(head + d, in[head + d] * factor * w[d]);
  }
  return result.tensor();
}

Tensor rotate_heads(const Tensor& x, const RotaryTable& rotary) {
  const Values in(x);
  const Values cos(rotary.cos);
  const Values sin(rotary.sin);
  const bool scales = !rotary.row_scale.empty();
  const Values row_scale = scales ? Values(rotary.row_scale) : Values(DType::f32, {0});
  const std::int64_t width = in.dim(3);
  const std::int64_t half = width / 2;
  return map(x, [&](std::int64_t i) {
    const std::int64_t d = i % width;
    const std::int64_t position = i / (in.dim(2) * width);  // over all batch rows
    const std::int64_t angle = (cos.dim(0) == 1 ? position % in.dim(1) : position) * width + d;
    const double partner = d < half ? -in[i + half] : in[i - half];
    const double rotated = in.round(in.round(in[i] * cos[angle]) + in.round(partner * sin[angle]));
    return scales ? rotated * row_scale[angle / width] : rotated;
  });
}

}  // namespace

Tensor norm_rope(const Tensor& x, const Tensor& norm_weight, double eps,
                 const RotaryTable& rotary) {
  const Tensor norm = norm_weight.empty() ? x : norm_heads(x, norm_weight, eps);
  return rotary.cos.empty() ? norm : rotate_heads(norm, rotary);
}

Tensor group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, int groups, double eps,
                  Activation activation) {
  // With the channels first, a group is contiguous.
  const std::int64_t channels = x.dim(3);
  const std::int64_t pixels = x.dim(1) * x.dim(2);
  const Values in(transpose_rows(x.reshaped({x.dim(0), pixels, channels})));
  const Values w(weight);
  const Values b(bias);
  const std::int64_t size = channels / groups * pixels;
  Values result(x.dtype(), {x.dim(0), channels, pixels});
  for (std::int64_t group = 0; group < in.size(); group += size) {
    const double mean = mean_of(in, group, size);
    const double deviation = inverse_deviation(in, group, size, mean, eps);
    for (std::int64_t i = group; i < group + size; ++i) {
      const std::int64_t channel = i / pixels % channels;
      const double norm = in.round((in[i] - mean) * deviation * w[channel] + b[channel]);
      result.set(i, activation == Activation::silu ? silu_of(norm) : norm);
    }
  }
  return transpose_rows(result.tensor()).reshaped(x.shape());
}

namespace {

/// How many keys a query sees.
std::int64_t visible_keys(const AttentionMask& mask, std::int64_t batch, std::int64_t position,
                          std::int64_t queries, std::int64_t keys) {
  switch (mask.kind) {
    case AttentionMask::Kind::causal:
      return position + keys - queries + 1;
    case AttentionMask::Kind::key_lengths:
      return mask.key_lengths.at(static_cast<std::size_t>(batch));
    default:
      return keys;
  }
}

std::vector<double> softmax(std::vector<double> scores) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) {
    score = std::exp(score - largest);
    sum += score;
  }
  for (double& score : scores) score /= sum;
  return scores;
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMask& mask,
                 double scale) {
  const Values query(q);
  const Values key(k);
  const Values value(v);
  const std::int64_t queries = q.dim(1);
  const std::int64_t heads = q.dim(2);
  const std::int64_t width = q.dim(3);
  const std::int64_t kv_heads = k.dim(2);
  Values result(q.dtype(), {q.dim(0), queries, heads * width});
  for (std::int64_t row = 0; row < q.dim(0) * queries * heads; ++row) {  // [B, Sq, heads]
    const std::int64_t batch = row / heads / queries;
    const std::int64_t position = row / heads % queries;
    const std::int64_t kv_head = row % heads / (heads / kv_heads);
    const auto key_start = [&](std::int64_t j) {
      return ((batch * k.dim(1) + j) * kv_heads + kv_head) * width;
    };
    std::vector<double> scores;
    const std::int64_t visible = visible_keys(mask, batch, position, queries, k.dim(1));
    for (std::int64_t j = 0; j < visible; ++j) {
      double dot = 0;
      for (std::int64_t d = 0; d < width; ++d)
        dot += query[row * width + d] * key[key_start(j) + d];
      scores.push_back(dot * scale);
    }
    const std::vector<double> weights = softmax(std::move(scores));
    for (std::int64_t d = 0; d < width; ++d) {
      double sum = 0;
      for (std::int64_t j = 0; j < visible; ++j) {
        sum += weights[static_cast<std::size_t>(j)] * value[key_start(j) + d];
      }
      result.set(row * width + d, sum);
    }
  }
  return result.tensor();
}

Tensor gelu_mul(const Tensor& gate, const Tensor& up, GeluForm form) {
  const Values g(gate);
  const Values u(up);
  return map(gate, [&](std::int64_t i) { return g.round(gelu_of(g[i], form)) * u[i]; });
}

Tensor silu_mul(const Tensor& gate, const Tensor& up) {
  const Values g(gate);
  const Values u(up);
  return map(gate, [&](std::int64_t i) { return g.round(silu_of(g[i])) * u[i]; });
}

Tensor gated_add(const Tensor& x, Chunk gate, const Tensor& y) {
  const Values in(x);
  const Values branch(y);
  const ChunkValues g(gate, x);
  return map(x, [&](std::int64_t i) { return in[i] + in.round(g[i] * branch[i]); });
}

Tensor add(const Tensor& a, const Tensor& b) {
  const Values first(a);
  const Values second(b);
  return map(a, [&](std::int64_t i) { return first[i] + second[i]; });
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  const Values left(a);
  const Values right(b);
  return map(a, [&](std::int64_t i) { return left[i] * right[i]; });
}

Tensor gelu(const Tensor& x, GeluForm form) {
  const Values in(x);
  return map(x, [&](std::int64_t i) { return gelu_of(in[i], form); });
}

Tensor silu(const Tensor& x) {
  const Values in(x);
  return map(x, [&](std::int64_t i) { return silu_of(in[i]); });
}

Tensor cast(const Tensor& x, DType dtype) { return round_to(to_float(x), dtype); }

Tensor concat_rows(const Tensor& a, const Tensor& b) {
  const Values first(a);
  const Values second(b);
  Values result(a.dtype(), {a.dim(0), a.dim(1) + b.dim(1), a.dim(2)});
  std::int64_t i = 0;
  for (std::int64_t row = 0; row < a.dim(0); ++row) {
    for (const Values* part : {&first, &second}) {
      const std::int64_t size = part->dim(1) * part->dim(2);
      for (std::int64_t j = 0; j < size; ++j) result.set(i++, (*part)[row * size + j]);
    }
  }
  return result.tensor();
}

Tensor slice_rows(const Tensor& x, std::int64_t begin, std::int64_t count) {
  const Values in(x);
  Values result(x.dtype(), {x.dim(0), count, x.dim(2)});
  const std::int64_t size = count * x.dim(2);
  for (std::int64_t i = 0; i < result.size(); ++i) {
    result.set(i, in[(i / size * x.dim(1) + begin) * x.dim(2) + i % size]);
  }
  return result.tensor();
}

Tensor transpose_rows(const Tensor& x) {
  const Values in(x);
  const std::int64_t rows = x.dim(1);
  const std::int64_t columns = x.dim(2);
  Values result(x.dtype(), {x.dim(0), columns, rows});
  for (std::int64_t i = 0; i < result.size(); ++i) {
    const std::int64_t batch = i / (rows * columns);
    result.set(i, in[(batch * rows + i % rows) * columns + i / rows % columns]);
  }
  return result.tensor();
}

Tensor upsample_nearest2x(const Tensor& x) {
  const Values in(x);
  const std::int64_t channels = x.dim(3);
  Values result(x.dtype(), {x.dim(0), 2 * x.dim(1), 2 * x.dim(2), channels});
  for (std::int64_t i = 0; i < result.size(); ++i) {
    const std::int64_t column = i / channels % (2 * x.dim(2));
    const std::int64_t line = i / channels / (2 * x.dim(2));  // over all images
    result.set(i, in[(line / 2 * x.dim(2) + column / 2) * channels + i % channels]);
  }
  return result.tensor();
}

}  // namespace ernie_image::oracle
