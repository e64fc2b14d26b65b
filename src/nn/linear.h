// Weights plus the operation that uses them.
#pragma once

#include <cstdint>
#include <string>

#include "backend/backend.h"
#include "core/quantization.h"
#include "core/weight.h"
#include "nn/linear_adapter.h"

namespace ernie_image {

/// See WeightLoader::load.
void check_packed(const Weight& weight, WeightUse use, Quantization quantization);

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
  WeightHandle load(const std::string& name, const Shape& shape, WeightUse use) const {
    Weight weight = source_.get(prefix_ + name, shape);
    weight.network = network_;
    weight.layer = layer_;
    const Quantization quantization =
        use == WeightUse::linear && rules_ != nullptr
            ? layer_quantization(*rules_, source_, weight.name, quantization_)
            : Quantization::none;
    if (is_packed(weight.format)) check_packed(weight, use, quantization);
    WeightHandle handle = backend_.prepare(weight, use, quantization);
    const bool copied = quantization != Quantization::none && !is_packed(weight.format);
    if (copied) source_.release_pages(weight);
    return handle;
  }

  WeightHandle vector(const std::string& name, std::int64_t size) const {
    return load(name, {size}, WeightUse::vector);
  }

 private:
  Backend& backend_;
  WeightSource& source_;
  std::string prefix_;
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
