// The operations that do several things in one go, composed of those that every device has.
#include <algorithm>
#include <cstddef>
#include <vector>

#include "backend/backend.h"

namespace ernie_image {
namespace {

/// The vector that a chunk chooses, [B, 1, H].
Tensor vector_of(Backend& ops, Chunk chunk, std::int64_t width) {
  const std::int64_t batch = chunk.table.dim(0), chunks = chunk.table.dim(1) / width;
  return ops.slice_rows(chunk.table.reshaped({batch, chunks, width}), chunk.index, 1);
}

/// [B, 1, H] for each of `rows` rows, [B, rows, H], twice as many with each step.
Tensor repeated(Backend& ops, const Tensor& vector, std::int64_t rows) {
  Tensor all = vector;
  while (all.dim(1) < rows) {
    const std::int64_t more = std::min(all.dim(1), rows - all.dim(1));
    all = ops.concat_rows(all, ops.slice_rows(all, 0, more));
  }
  return rows == 0 ? ops.slice_rows(all, 0, 0) : all;
}

Tensor filled(const Shape& shape, float value) {
  const std::vector<float> values(static_cast<std::size_t>(num_elements(shape)), value);
  return Tensor::copy_of<float>(DType::f32, shape, values);
}

/// 1 + vector, rounded.
Tensor one_plus(Backend& ops, const Tensor& vector) {
  return ops.add(ops.cast(ops.upload(filled(vector.shape(), 1)), vector.dtype()), vector);
}

WeightHandle constant_vector(Backend& ops, std::int64_t size, float value) {
  const auto values = std::make_shared<const Tensor>(filled({size}, value));
  Weight weight;
  weight.name = "constant";
  weight.shape = values->shape();
  weight.data = values->bytes();
  weight.owner = values;
  return ops.prepare(weight, WeightUse::vector);
}

/// LayerNorm without affine, rounded: a group norm of pictures of one pixel, in one group.
Tensor layer_norm(Backend& ops, const Tensor& x, float eps) {
  const std::int64_t width = x.dim(2), rows = x.dim(0) * x.dim(1);
  const WeightHandle weight = constant_vector(ops, width, 1), bias = constant_vector(ops, width, 0);
  return ops.group_norm(x.reshaped({rows, 1, 1, width}), *weight, *bias, 1, eps, Activation::none)
      .reshaped(x.shape());
}

}  // namespace

std::vector<Tensor> Backend::linear_together(const Tensor& x,
                                             const std::vector<const PreparedWeight*>& weights) {
  std::vector<Tensor> results;
  for (const PreparedWeight* weight : weights) results.push_back(linear(x, *weight, nullptr));
  return results;
}

std::vector<Tensor> Backend::linear_with_terms(const Tensor& x,
                                               std::span<const LinearWithTerms> layers) {
  std::vector<const PreparedWeight*> shared;
  for (const LinearWithTerms& layer : layers) {
    if (layer.bias == nullptr) shared.push_back(layer.weight);
    for (const LowRankTerm& term : layer.terms) shared.push_back(term.down);
  }
  const std::vector<Tensor> products = linear_together(x, shared);
  auto next = products.begin();
  std::vector<Tensor> results;
  for (const LinearWithTerms& layer : layers) {
    Tensor y = layer.bias == nullptr ? *next++ : linear(x, *layer.weight, layer.bias);
    for (const LowRankTerm& term : layer.terms) y = add(y, linear(*next++, *term.up, nullptr));
    results.push_back(y);
  }
  return results;
}

Tensor Backend::rms_norm_modulate(const Tensor& x, const PreparedWeight& weight, float eps,
                                  Chunk scale, Chunk shift) {
  const std::int64_t rows = x.dim(1), width = x.dim(2);
  const auto wide = [&](Chunk chunk) { return cast(vector_of(*this, chunk, width), DType::f32); };
  const Tensor normed = cast(rms_norm(x, weight, eps), DType::f32);
  const Tensor scaled = multiply(normed, repeated(*this, one_plus(*this, wide(scale)), rows));
  return cast(add(scaled, repeated(*this, wide(shift), rows)), x.dtype());
}

Tensor Backend::layer_norm_modulate(const Tensor& x, float eps, Chunk scale, Chunk shift) {
  const std::int64_t rows = x.dim(1), width = x.dim(2);
  const Tensor factor = one_plus(*this, vector_of(*this, scale, width));
  const Tensor scaled = multiply(layer_norm(*this, x, eps), repeated(*this, factor, rows));
  return add(scaled, repeated(*this, vector_of(*this, shift, width), rows));
}

Tensor Backend::gelu_mul(const Tensor& gate, const Tensor& up) { return multiply(gelu(gate), up); }

Tensor Backend::silu_mul(const Tensor& gate, const Tensor& up) { return multiply(silu(gate), up); }

Tensor Backend::gated_add(const Tensor& x, Chunk gate, const Tensor& y) {
  const Tensor factor = repeated(*this, vector_of(*this, gate, x.dim(2)), x.dim(1));
  return add(x, multiply(factor, y));
}

}  // namespace ernie_image
