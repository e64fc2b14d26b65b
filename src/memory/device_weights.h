// What the weights of a component take in a device's own memory, and what computing with them takes
// beside.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "backend/registry.h"
#include "core/weight.h"
#include "ernie_image/precision.h"
#include "io/weight_files.h"

namespace ernie_image {

class DeviceWeights {
 public:
  /// Of a run in `dtype`; `quantization` is that of the weights which models/quantized_weights.h
  /// names. `files` must outlive this.
  DeviceWeights(const WeightFiles& files, DType dtype, Quantization quantization,
                const DeviceHabits& habits);

  /// All whose names begin with the prefix.
  std::uint64_t bytes(std::string_view prefix) const;
  /// While the largest of them is brought into its form.
  std::uint64_t scratch_bytes(std::string_view prefix) const;
  /// Layers with weights of another type than the run's, with records of 4 bits, and on some
  /// devices with a bias, are computed with copies of their weights, of which the pool keeps one of
  /// each size.
  std::uint64_t copied_bytes(std::string_view prefix) const;
  /// Whether bf16 activations meet weights of another type, and are widened beside them.
  bool widens_activations() const;
  /// Whether activations are rounded to integers, and products are sums of these.
  bool has_int8() const;

 private:
  WeightFormat format(const Weight& weight) const;
  std::uint64_t bytes(const Weight& weight) const;
  std::uint64_t scratch_bytes(const Weight& weight) const;

  const WeightFiles& files_;
  std::vector<Weight> weights_;
  DType dtype_;
  Quantization quantization_;
  bool widens_biased_;
};

}  // namespace ernie_image
