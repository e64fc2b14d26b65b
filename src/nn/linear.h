// Weights plus the operation that uses them.
#pragma once

#include <cstdint>
#include <string>

#include "backend/backend.h"
#include "core/quantization.h"
#include "core/weight.h"
#include "nn/linear_adapter.h"
#include "nn/split_weights.h"

namespace ernie_image {

/// Quantised by this program, in whatever form.
bool is_quantised(const Weight& weight);

/// See WeightLoader::load.
void check_packed(const Weight& weight, WeightUse use, Quantization quantization);

/// Which part of a weight a card has, where its network's weights are shared out.
enum class WeightPart { all, rows, columns };

/// Loads the weights of one module: a backend, a source and the module's name as prefix.
class WeightLoader {
 public:
  WeightLoader(Backend& backend, WeightSource& source, std::string prefix = "")
      : backend_(backend), source_(source), prefix_(std::move(prefix)) {}

  /// Quantises the linear weights that `rules` name. These must outlive the loader.
  WeightLoader(Backend& backend, WeightSource& source, std::string prefix,
               Quantization quantization, const QuantizedWeights& rules)
      : backend_(backend),
        source_(source),
        prefix_(std::move(prefix)),
        quantization_(quantization),
        rules_(&rules) {}

  /// The loader of a submodule: "self_attention" gives "<prefix>self_attention.".
  WeightLoader at(const std::string& module) const {
    WeightLoader loader = *this;
    loader.prefix_ += module + ".";
    return loader;
  }

  /// One that loads the shares of this card where a part is asked for.
  WeightLoader sharing(std::shared_ptr<const SplitWeights> split) const {
    WeightLoader loader = *this;
    loader.split_ = std::move(split);
    return loader;
  }
  /// Never null.
  const std::shared_ptr<const SplitWeights>& split() const { return split_; }

  /// The loader of layer `index` of the network `list`, whose layers are used one after another:
  /// "<prefix>list.0.". A backend may keep the weights of a layer together.
  WeightLoader layer(const std::string& list, std::int64_t index) const {
    WeightLoader loader = at(list).at(std::to_string(index));
    loader.network_ = prefix_ + list;
    loader.layer_ = index;
    return loader;
  }

  bool contains(const std::string& name) const { return source_.contains(prefix_ + name); }

  /// Throws Error(corrupt_file) for a packed weight that is no linear layer's,
  /// Error(invalid_argument) for one that is packed otherwise than this loader is to quantise it.
  WeightHandle load(const std::string& name, const Shape& shape, WeightUse use,
                    WeightPart part = WeightPart::all) const {
    Weight weight = source_.get(prefix_ + name, shape);
    weight.network = network_;
    weight.layer = layer_;
    Quantization quantization =
        use == WeightUse::linear && rules_ != nullptr
            ? layer_quantization(*rules_, source_, weight.name, quantization_)
            : Quantization::none;
    if (is_packed(weight.format)) check_packed(weight, use, quantization);
    weight = shared(weight, part, quantization);
    WeightHandle handle = backend_.prepare(weight, use, quantization);
    const bool copied = quantization != Quantization::none && !is_packed(weight.format);
    if (copied) source_.release_pages(weight);
    return handle;
  }

  WeightHandle vector(const std::string& name, std::int64_t size) const {
    return load(name, {size}, WeightUse::vector);
  }

 private:
  /// What was quantised stays so: to 8 bits.
  Weight shared(const Weight& weight, WeightPart part, Quantization& quantization) const {
    if (part == WeightPart::all || split_->share().is_all()) return weight;
    if (is_quantised(weight)) quantization = Quantization::int8;
    return part == WeightPart::rows ? rows_of(weight, split_->share())
                                    : columns_of(weight, split_->share());
  }

  Backend& backend_;
  WeightSource& source_;
  std::string prefix_;
  std::shared_ptr<const SplitWeights> split_ = std::make_shared<const SplitWeights>(WeightShare());
  Quantization quantization_ = Quantization::none;
  const QuantizedWeights* rules_ = nullptr;  // null: nothing is quantised
  std::string network_;                      // as Weight has it, as is the next
  std::int64_t layer_ = -1;
};

/// y = x W^T + b, and what adapters add to it
struct Linear {
  WeightHandle weight;                           // [N, K]
  WeightHandle bias;                             // [N], or null
  std::shared_ptr<const LinearAdapter> adapter;  // or null

  Tensor operator()(Backend& ops, const Tensor& x) const {
    return adapter ? adapted_linear(ops, x, *this) : ops.linear(x, *weight, bias.get());
  }
};

enum class Bias { no, yes };

/// A card's share of `module`.weight [outputs, inputs], which has no bias.
inline Linear load_share(const WeightLoader& loader, const std::string& module, WeightPart part,
                         std::int64_t outputs, std::int64_t inputs) {
  return {loader.at(module).load("weight", {outputs, inputs}, WeightUse::linear, part), nullptr,
          nullptr};
}

/// `module`.weight [outputs, inputs] and, if asked for, `module`.bias [outputs].
inline Linear load_linear(const WeightLoader& loader, const std::string& module,
                          std::int64_t outputs, std::int64_t inputs, Bias bias = Bias::no) {
  const WeightLoader at = loader.at(module);
  return {at.load("weight", {outputs, inputs}, WeightUse::linear),
          bias == Bias::yes ? at.vector("bias", outputs) : nullptr, nullptr};
}

/// 2-D convolution, stride 1, zero padding that keeps height and width.
struct Conv2d {
  WeightHandle weight;  // [C_out, C_in, k, k]
  WeightHandle bias;    // [C_out]

  Tensor operator()(Backend& ops, const Tensor& x) const { return ops.conv2d(x, *weight, *bias); }
};

inline Conv2d load_conv2d(const WeightLoader& loader, const std::string& module,
                          std::int64_t outputs, std::int64_t inputs, std::int64_t kernel) {
  const WeightLoader at = loader.at(module);
  return {at.load("weight", {outputs, inputs, kernel, kernel}, WeightUse::conv2d),
          at.vector("bias", outputs)};
}

}  // namespace ernie_image
