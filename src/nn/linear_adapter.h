// What adapters (LoRA and its kin) add to a layer beside its weight, and how it is computed.
#pragma once

#include <initializer_list>
#include <memory>
#include <vector>

#include "backend/backend.h"

namespace ernie_image {

struct Linear;

/// One term that is added to y = x W^T + b: with x' = x + input_gate * x,
///   x' down^T up^T                    a product of low rank, where `outer` is null
///   x' kron(outer, down up...)^T      a Kronecker product, whose second factor is the product of
///                                     `up` and, if there is one, `down`
/// and then y' + output_gate * y'. Every operation rounds once: in a bf16 run the result of `down`,
/// that of `up`, each gate and each sum; in fp32 nothing.
struct AdapterTerm {
  Tensor input_gate;   ///< [1, K] or empty
  WeightHandle down;   ///< [R, K]; of a Kronecker product [R, K / b], or null
  WeightHandle up;     ///< [N, R]; of a Kronecker product [N / a, R], or [N / a, K / b]
  WeightHandle outer;  ///< [a, b] or null
  Tensor output_gate;  ///< [1, N] or empty
};

/// All that is added to one linear layer:
///   x' = x + input_gate * x;  y' = x' W^T;  y = y' + output_gate * y' + bias + terms of x
struct LinearAdapter {
  Tensor input_gate;   ///< [1, K] or empty
  Tensor output_gate;  ///< [1, N] or empty; the bias of the layer makes up for what it does to it
  std::vector<AdapterTerm> terms;
};

/// What is added to rows of an embedding table: rows `down`[id] times up^T.
struct EmbeddingAdapter {
  struct Term {
    WeightHandle down;  ///< [V, R], a table of rows
    WeightHandle up;    ///< [H, R]
  };
  std::vector<Term> terms;
};

/// x W^T + b with what `layer.adapter` adds.
Tensor adapted_linear(Backend& ops, const Tensor& x, const Linear& layer);

/// Rows of `table` [T, H] with what `adapter`, which may be null, adds.
Tensor adapted_embedding(Backend& ops, std::span<const std::int32_t> ids,
                         const PreparedWeight& table, const EmbeddingAdapter* adapter, DType dtype);

/// Several layers that read the same x: q, k, v or gate, up.
std::vector<Tensor> linear_together(Backend& ops, const Tensor& x,
                                    std::initializer_list<const Linear*> layers);

/// Offered every part of a model that adapters may change, by its name in the checkpoint.
class ModuleVisitor {
 public:
  virtual ~ModuleVisitor() = default;
  /// `module`.weight and, if the layer has one, `module`.bias.
  virtual void linear(const std::string& module, Linear& layer) = 0;
  /// `module`.weight [n], of a norm.
  virtual void vector(const std::string& module, WeightHandle& weight) = 0;
  /// `module`.weight [V, H].
  virtual void embedding(const std::string& module, const WeightHandle& table,
                         std::shared_ptr<const EmbeddingAdapter>& adapter) = 0;
};

}  // namespace ernie_image
