#include "adapters/adapter_attachment.h"

#include <algorithm>
#include <cmath>

#include "adapters/merged_weight.h"
#include "adapters/weight_rows.h"

namespace ernie_image {
namespace {

using Part = AdapterPart;
using Kind = AdapterModule::Kind;
using Norm = AdapterModule::Norm;

/// Above this, a product of LoHa's rank r1 r2 costs more than half of the layer itself.
bool is_low(std::int64_t rank, const Shape& weight) {
  return 4 * rank <= std::min(weight[0], weight[1]);
}

bool must_merge(const AdapterModule& module) {
  if (module.kind() == Kind::full) return true;
  if (module.kind() != Kind::hadamard) return false;
  const std::int64_t second = module.part(Part::hada_2_a)->shape[1];
  // The first bounds the product.
  return !is_low(module.rank(), module.module().shape) ||
         !is_low(module.rank() * second, module.module().shape);
}

/// A gate that a bias cannot make up for.
constexpr float kSmallestGain = 1e-3f;

/// For messages. What adapters add is of no layer, with which a card would stream it: it stays.
std::string label(const std::string& module, const char* part) {
  return "adapter." + flattened(module) + part;
}

Weight host_weight(const std::string& name, const Tensor& values) {
  return {name, values.dtype(), values.shape(), values.bytes(), std::make_shared<Tensor>(values)};
}

/// values[i][j] *= factor * rows[i] * columns[j], where these are not empty.
void multiply(const Tensor& values, double factor, const std::vector<float>& rows,
              const std::vector<float>& columns) {
  const std::int64_t width = values.dim(1);
  float* value = values.data<float>();
  for (std::int64_t i = 0; i < values.dim(0); ++i) {
    const double row = rows.empty() ? factor : factor * rows[static_cast<std::size_t>(i)];
    for (std::int64_t j = 0; j < width; ++j, ++value) {
      const double column = columns.empty() ? 1 : columns[static_cast<std::size_t>(j)];
      *value = static_cast<float>(*value * row * column);
    }
  }
}

Tensor transposed(const Tensor& values) {
  const std::int64_t rows = values.dim(0), columns = values.dim(1);
  Tensor result = Tensor::host(DType::f32, {columns, rows});
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j)
      result.data<float>()[j * rows + i] = values.data<float>()[i * columns + j];
  }
  return result;
}

std::uint64_t bytes_of(const Shape& shape, DType dtype) {
  return static_cast<std::uint64_t>(num_elements(shape)) * size_of(dtype);
}

}  // namespace

// ---- planning ----------------------------------------------------------------------------------

std::map<std::string, AdapterAttachment::Changes> AdapterAttachment::changes_of(
    const std::vector<ActiveAdapter>& adapters) const {
  std::map<std::string, Changes> changes;
  for (const ActiveAdapter& active : adapters) {
    if (active.strength == 0) continue;
    const AdapterMatch& match = active.adapter->match;
    const auto& modules = component_ == "transformer" ? match.transformer : match.text_encoder;
    for (const auto& [name, module] : modules) {
      if (module.module().kind != Module::Kind::idle)
        changes[name].push_back({&module, active.adapter.get(), active.strength});
    }
  }
  return changes;
}

namespace {

template <class Changes>
bool is_merged(const Changes& changes) {
  bool by_rows = false, by_columns = false;
  for (const auto& change : changes) {
    if (must_merge(*change.module)) return true;
    by_rows |= change.module->norm() == Norm::rows;
    by_columns |= change.module->norm() == Norm::columns;
  }
  return by_rows && by_columns;
}

}  // namespace

AdapterMemory AdapterAttachment::memory(const std::vector<ActiveAdapter>& adapters) const {
  AdapterMemory memory;
  for (const auto& [name, changes] : changes_of(adapters)) {
    const Module& module = changes.front().module->module();
    if (is_merged(changes)) {
      memory.bytes += bytes_of(module.shape, dtype_);
      memory.merged_layers += module.kind == Module::Kind::linear;
      continue;
    }
    for (const Change& change : changes) {
      std::uint64_t values = 0;
      for (const auto& [part, weight] : change.module->parts())
        values += static_cast<std::uint64_t>(num_elements(weight.shape));
      if (change.module->kind() == Kind::hadamard) {
        const std::int64_t rank =
            change.module->rank() * change.module->part(Part::hada_2_a)->shape[1];
        values = static_cast<std::uint64_t>(rank * (module.shape[0] + module.shape[1]));
      }
      memory.bytes += values * size_of(dtype_);
    }
  }
  return memory;
}

// ---- attaching ---------------------------------------------------------------------------------

class AdapterAttachment::Installer final : public ModuleVisitor {
 public:
  Installer(AdapterAttachment& attachment, std::map<std::string, Changes> changes)
      : at_(attachment), changes_(std::move(changes)) {}

  void linear(const std::string& module, Linear& layer) override;
  void vector(const std::string& module, WeightHandle& weight) override;
  void embedding(const std::string& module, const WeightHandle& table,
                 std::shared_ptr<const EmbeddingAdapter>& adapter) override;

 private:
  Weight base(const std::string& module, const std::string& what, const Shape& shape) {
    return at_.weights_.get(at_.prefix_ + module + what, shape);
  }
  const std::vector<float>& gains(const std::string& module, const Change& change,
                                  const Shape& shape);
  Tensor merged(const std::string& module, const Changes& changes, const Shape& shape);
  std::shared_ptr<const LinearAdapter> beside(const std::string& module, const Changes& changes,
                                              const Shape& shape, std::vector<float>& output_gate);
  AdapterTerm term(const std::string& module, const Change& change, const std::vector<float>& gain);
  AdapterTerm kronecker_term(const std::string& module, const Change& change,
                             const std::vector<float>& gain);
  WeightHandle prepared(const std::string& name, const Tensor& values,
                        WeightUse use = WeightUse::linear) {
    return at_.ops_.prepare(host_weight(name, round_to(values, at_.dtype_)), use);
  }
  Tensor uploaded_gate(const std::vector<float>& gate) {
    const Tensor row =
        Tensor::copy_of<float>(DType::f32, {1, static_cast<std::int64_t>(gate.size())}, gate);
    return at_.ops_.upload(round_to(row, at_.dtype_));
  }
  void set_bias(const std::string& module, const Changes& changes, Linear& layer,
                const std::vector<float>& output_gate);

  AdapterAttachment& at_;
  std::map<std::string, Changes> changes_;
};

const std::vector<float>& AdapterAttachment::Installer::gains(const std::string& module,
                                                              const Change& change,
                                                              const Shape& shape) {
  static const std::vector<float> kNone;
  if (change.module->norm() == Norm::none) return kNone;
  std::vector<float>& gains = change.adapter->gains[at_.component_ + "." + module];
  if (gains.empty()) gains = change.module->gains(base(module, ".weight", shape));
  return gains;
}

/// W with all changes, in f32.
Tensor AdapterAttachment::Installer::merged(const std::string& module, const Changes& changes,
                                            const Shape& shape) {
  std::vector<AdapterChange> merged;
  for (const Change& change : changes)
    merged.push_back({change.module, change.strength, &gains(module, change, shape)});
  return merged_weight(base(module, ".weight", shape), merged);
}

AdapterTerm AdapterAttachment::Installer::kronecker_term(const std::string& module,
                                                         const Change& change,
                                                         const std::vector<float>& gain) {
  const AdapterModule& adapter = *change.module;
  const auto prepared_part = [&](const Tensor& values, const char* what) {
    return prepared(label(module, what), values);
  };
  AdapterTerm term;
  const KroneckerFactors factors = kronecker_factors(adapter);
  multiply(factors.outer, change.strength * adapter.scale(), {}, {});
  term.outer = prepared_part(factors.outer, ".lokr_w1");
  const bool is_factored = adapter.part(Part::kron_2) == nullptr;
  if (is_factored) {
    term.up = prepared_part(weight_values(*adapter.part(Part::kron_2_a)), ".lokr_w2_a");
    term.down = prepared_part(weight_values(*adapter.part(Part::kron_2_b)), ".lokr_w2_b");
  } else {
    term.up = prepared_part(factors.inner, ".lokr_w2");
  }
  std::vector<float> gate = gain;
  for (float& value : gate) value -= 1;
  if (adapter.norm() == Norm::rows) term.output_gate = uploaded_gate(gate);
  if (adapter.norm() == Norm::columns) term.input_gate = uploaded_gate(gate);
  return term;
}

AdapterTerm AdapterAttachment::Installer::term(const std::string& module, const Change& change,
                                               const std::vector<float>& gain) {
  const AdapterModule& adapter = *change.module;
  if (adapter.kind() == Kind::kronecker) return kronecker_term(module, change, gain);
  const double factor = change.strength * adapter.scale();
  const std::vector<float> rows = adapter.norm() == Norm::rows ? gain : std::vector<float>();
  const std::vector<float> columns = adapter.norm() == Norm::columns ? gain : std::vector<float>();
  AdapterTerm term;
  const Weight* const down = adapter.part(Part::down);
  if (adapter.kind() == Kind::low_rank && columns.empty() && down->dtype != DType::f64) {
    Weight stored = *down;
    stored.name = label(module, ".down");
    term.down = at_.ops_.prepare(stored, WeightUse::linear);
  }
  LowRankFactors factors;
  if (adapter.kind() == Kind::hadamard) {
    factors = hadamard_factors(adapter);
  } else {
    factors.up = weight_values(*adapter.part(Part::up));
    if (!term.down) factors.down = weight_values(*adapter.part(Part::down));
  }
  if (!term.down) {
    multiply(factors.down, 1, {}, columns);
    term.down = prepared(label(module, ".down"), factors.down);
  }
  multiply(factors.up, factor, rows, {});
  term.up = prepared(label(module, ".up"), factors.up);
  return term;
}

/// What is added beside the weight. `output_gate` [N] is set if rows are multiplied.
std::shared_ptr<const LinearAdapter> AdapterAttachment::Installer::beside(
    const std::string& module, const Changes& changes, const Shape& shape,
    std::vector<float>& output_gate) {
  auto adapter = std::make_shared<LinearAdapter>();
  std::vector<float> input_gate;
  for (const Change& change : changes) {
    if (!change.module->changes_weight()) continue;
    const std::vector<float>& gain = gains(module, change, shape);
    adapter->terms.push_back(term(module, change, gain));
    if (gain.empty()) continue;
    std::vector<float>& gate = change.module->norm() == Norm::rows ? output_gate : input_gate;
    gate.resize(gain.size());
    for (std::size_t i = 0; i < gain.size(); ++i)
      gate[i] += static_cast<float>(change.strength) * (gain[i] - 1);
  }
  if (!input_gate.empty()) adapter->input_gate = uploaded_gate(input_gate);
  if (!output_gate.empty()) adapter->output_gate = uploaded_gate(output_gate);
  return adapter;
}

/// The bias with what adapters add to it, and divided by what the output gate multiplies it with.
void AdapterAttachment::Installer::set_bias(const std::string& module, const Changes& changes,
                                            Linear& layer, const std::vector<float>& output_gate) {
  const bool is_changed = std::ranges::any_of(
      changes, [](const Change& change) { return change.module->changes_bias(); });
  const bool is_gated = layer.bias != nullptr && !output_gate.empty();
  if (!is_changed && !is_gated) return;
  const std::int64_t outputs = layer.weight->shape()[0];
  const Tensor bias = layer.bias ? weight_values(base(module, ".bias", {outputs}))
                                 : Tensor::host(DType::f32, {outputs});
  for (const Change& change : changes)
    change.module->add_to_bias(change.strength, bias.data<float>());
  for (std::size_t i = 0; i < output_gate.size(); ++i) bias.data<float>()[i] /= 1 + output_gate[i];
  layer.bias = at_.ops_.prepare(host_weight(label(module, ".bias"), bias), WeightUse::vector);
}

void AdapterAttachment::Installer::linear(const std::string& module, Linear& layer) {
  const auto found = changes_.find(module);
  if (found == changes_.end()) return;
  const Changes& changes = found->second;
  const Shape shape = layer.weight->shape();
  at_.layers_.push_back({&layer, layer});
  bool merges = is_merged(changes);
  std::vector<float> output_gate;
  std::shared_ptr<const LinearAdapter> adapter;
  if (!merges) {
    adapter = beside(module, changes, shape, output_gate);
    const bool has_bias =
        layer.bias != nullptr || std::ranges::any_of(changes, [](const Change& change) {
          return change.module->changes_bias();
        });
    merges = has_bias && std::ranges::any_of(output_gate, [](float gate) {
               return std::abs(1 + gate) < kSmallestGain;
             });
  }
  if (merges) {
    output_gate.clear();
    layer.weight = prepared(label(module, ".weight"), merged(module, changes, shape));
  } else if (!adapter->terms.empty()) {
    layer.adapter = adapter;
  }
  set_bias(module, changes, layer, output_gate);
}

void AdapterAttachment::Installer::vector(const std::string& module, WeightHandle& weight) {
  const auto found = changes_.find(module);
  if (found == changes_.end()) return;
  at_.vectors_.push_back({&weight, weight});
  const Tensor values = merged(module, found->second, weight->shape());
  weight = at_.ops_.prepare(host_weight(label(module, ".weight"), values), WeightUse::vector);
}

void AdapterAttachment::Installer::embedding(const std::string& module, const WeightHandle&,
                                             std::shared_ptr<const EmbeddingAdapter>& adapter) {
  const auto found = changes_.find(module);
  if (found == changes_.end()) return;
  auto terms = std::make_shared<EmbeddingAdapter>();
  for (const Change& change : found->second) {
    const AdapterModule& table = *change.module;
    const Tensor up = weight_values(*table.part(Part::embedding_up));
    multiply(up, change.strength * table.scale(), {}, {});
    const Tensor down = transposed(weight_values(*table.part(Part::embedding_down)));
    terms->terms.push_back({prepared(label(module, ".embedding_down"), down, WeightUse::embedding),
                            prepared(label(module, ".embedding_up"), up)});
  }
  at_.embeddings_.push_back(&adapter);
  adapter = terms;
}

std::unique_ptr<ModuleVisitor> AdapterAttachment::installer(
    const std::vector<ActiveAdapter>& adapters) {
  return std::make_unique<Installer>(*this, changes_of(adapters));
}

bool AdapterAttachment::is_attached(const std::vector<ActiveAdapter>& adapters) const {
  // What leaves this component alone does not count.
  const auto touches = [&](const ActiveAdapter& active) {
    const AdapterMatch& match = active.adapter->match;
    return active.strength != 0 &&
           !(component_ == "transformer" ? match.transformer : match.text_encoder).empty();
  };
  std::vector<ActiveAdapter> before, wanted;
  std::ranges::copy_if(attached_, std::back_inserter(before), touches);
  std::ranges::copy_if(adapters, std::back_inserter(wanted), touches);
  return std::ranges::equal(before, wanted, [](const ActiveAdapter& a, const ActiveAdapter& b) {
    return a.adapter->sha256 == b.adapter->sha256 && a.strength == b.strength;
  });
}

void AdapterAttachment::detach() {
  for (const Original& original : layers_) *original.layer = original.before;
  for (const OriginalVector& original : vectors_) *original.place = original.before;
  for (auto* const embedding : embeddings_) embedding->reset();
  layers_.clear();
  vectors_.clear();
  embeddings_.clear();
  attached_.clear();
}

}  // namespace ernie_image
