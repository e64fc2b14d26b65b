#include "nn/linear_adapter.h"

#include <span>
#include <utility>
#include <vector>

#include "nn/linear.h"

namespace ernie_image {
namespace {

/// [1, rows, width]: a gate of one row is then that of every row.
Tensor as_rows(const Tensor& x) { return x.reshaped({1, x.size() / x.dim(-1), x.dim(-1)}); }

/// x + gate * x; x itself without a gate.
Tensor gated(Backend& ops, const Tensor& x, const Tensor& gate) {
  if (gate.empty()) return x;
  const Tensor rows = as_rows(x);
  return ops.gated_add(rows, Chunk{gate, 0}, rows).reshaped(x.shape());
}

Shape with_last(const Tensor& x, std::int64_t width) {
  Shape shape = x.shape();
  shape.back() = width;
  return shape;
}

/// kron(outer [a, b], inner [c, d]) of each row: the row as a matrix [b, d] becomes
/// outer [b, d] inner^T = [a, c].
Tensor kronecker_product(Backend& ops, const Tensor& x, const AdapterTerm& term) {
  const std::int64_t a = term.outer->shape()[0], b = term.outer->shape()[1];
  const std::int64_t c = term.up->shape()[0];
  const std::int64_t d = x.dim(-1) / b, rows = x.size() / x.dim(-1);
  Tensor inner = x.reshaped({rows * b, d});
  if (term.down) inner = ops.linear(inner, *term.down);
  inner = ops.transpose_rows(ops.linear(inner, *term.up).reshaped({rows, b, c}));  // [rows, c, b]
  const Tensor outer = ops.linear(inner.reshaped({rows * c, b}), *term.outer);
  return ops.transpose_rows(outer.reshaped({rows, c, a})).reshaped(with_last(x, a * c));
}

/// `narrow` is x down^T if somebody has computed it, else empty.
Tensor term_of(Backend& ops, const Tensor& x, const AdapterTerm& term, const Tensor& narrow) {
  if (!narrow.empty()) return gated(ops, ops.linear(narrow, *term.up), term.output_gate);
  const Tensor input = gated(ops, x, term.input_gate);
  const Tensor y = term.outer ? kronecker_product(ops, input, term)
                              : ops.linear(ops.linear(input, *term.down), *term.up);
  return gated(ops, y, term.output_gate);
}

std::span<const AdapterTerm> terms_of(const Linear& layer) {
  return layer.adapter ? std::span(layer.adapter->terms) : std::span<const AdapterTerm>();
}

bool reads_x_itself(const AdapterTerm& term) {
  return term.down != nullptr && term.outer == nullptr && term.input_gate.empty();
}

/// Whether the term is added where the layer's own product is made.
bool is_beside(const Linear& layer, const AdapterTerm& term) {
  return reads_x_itself(term) && term.output_gate.empty() && layer.adapter->input_gate.empty() &&
         layer.adapter->output_gate.empty();
}

/// The products of x that layers and terms share a call for, in the order in which they are taken.
class SharedProducts {
 public:
  void add(const Linear& layer) {
    LinearWithTerms product{layer.weight.get(), layer.bias.get()};
    for (const AdapterTerm& term : terms_of(layer)) {
      if (is_beside(layer, term)) product.terms.push_back({term.down.get(), term.up.get()});
    }
    products_.push_back(std::move(product));
  }
  void add(const WeightHandle& weight) { products_.push_back({weight.get()}); }
  void run(Backend& ops, const Tensor& x) { results_ = ops.linear_with_terms(x, products_); }
  Tensor take() { return std::exchange(results_[next_++], Tensor()); }

 private:
  std::vector<LinearWithTerms> products_;
  std::vector<Tensor> results_;
  std::size_t next_ = 0;
};

bool is_shared(const Linear& layer) { return !layer.adapter || layer.adapter->input_gate.empty(); }

Tensor base_of(Backend& ops, const Tensor& x, const Linear& layer) {
  const Tensor input = layer.adapter ? gated(ops, x, layer.adapter->input_gate) : x;
  return ops.linear(input, *layer.weight, layer.bias.get());
}

}  // namespace

std::vector<Tensor> linear_together(Backend& ops, const Tensor& x,
                                    std::initializer_list<const Linear*> layers) {
  SharedProducts shared;
  for (const Linear* layer : layers) {
    if (is_shared(*layer)) shared.add(*layer);
    for (const AdapterTerm& term : terms_of(*layer)) {
      if (reads_x_itself(term) && !is_beside(*layer, term)) shared.add(term.down);
    }
  }
  shared.run(ops, x);
  std::vector<Tensor> results;
  for (const Linear* layer : layers) {
    Tensor y = is_shared(*layer) ? shared.take() : base_of(ops, x, *layer);
    if (layer->adapter) y = gated(ops, y, layer->adapter->output_gate);
    for (const AdapterTerm& term : terms_of(*layer)) {
      if (is_beside(*layer, term)) continue;
      const Tensor narrow = reads_x_itself(term) ? shared.take() : Tensor();
      y = ops.add(y, term_of(ops, x, term, narrow));
    }
    results.push_back(y);
  }
  return results;
}

Tensor adapted_linear(Backend& ops, const Tensor& x, const Linear& layer) {
  return linear_together(ops, x, {&layer}).front();
}

Tensor adapted_embedding(Backend& ops, std::span<const std::int32_t> ids,
                         const PreparedWeight& table, const EmbeddingAdapter* adapter,
                         DType dtype) {
  Tensor rows = ops.embedding(ids, table, dtype);
  if (adapter == nullptr) return rows;
  for (const EmbeddingAdapter::Term& term : adapter->terms)
    rows = ops.add(rows, ops.linear(ops.embedding(ids, *term.down, dtype), *term.up));
  return rows;
}

}  // namespace ernie_image
