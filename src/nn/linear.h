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
  WeightLoader(Backend& backend, WeightSource& source, std::string prefix = "",
               Quantization quantization = Quantization::none)
      : backend_(backend),
        source_(source),
        prefix_(std::move(prefix)),
        quantization_(quantization) {}

  /// The loader of a submodule: "layers.0" gives "<prefix>layers.0.".
  WeightLoader at(const std::string& module) const {
    return {backend_, source_, prefix_ + module + ".", quantization_};
  }

  bool contains(const std::string& name) const { return source_.contains(prefix_ + name); }

  /// Throws Error(corrupt_file) for a packed weight that is no linear layer's,
  /// Error(invalid_argument) for one that is packed otherwise than this loader is to quantise it.
  WeightHandle load(const std::string& name, const Shape& shape, WeightUse use) const {
    const Weight weight = source_.get(prefix_ + name, shape);
    const Quantization quantization = use == WeightUse::linear
                                          ? layer_quantization(source_, weight.name, quantization_)
                                          : Quantization::none;
    if (weight.format != WeightFormat::plain) check_packed(weight, use, quantization);
    WeightHandle handle = backend_.prepare(weight, use, quantization);
    const bool copied = quantization != Quantization::none && weight.format == WeightFormat::plain;
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
  Quantization quantization_;  // of the linear weights that quantization.h names
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
