#include "memory/device_weights.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string>

#include "core/packed_weight.h"
#include "core/quantization.h"
#include "models/quantized_weights.h"

namespace ernie_image {
namespace {

/// Each weight begins at a multiple of this and has some bytes to spare.
constexpr std::uint64_t kWeightAlignment = 512;

std::uint64_t elements(const Weight& weight) {
  return static_cast<std::uint64_t>(num_elements(weight.shape));
}

bool is_matrix(const Weight& weight) {
  return weight.shape.size() > 1 && !weight.name.ends_with("embed_tokens.weight");
}

/// Rows of codes, K filled up to a multiple of 32, and from the next multiple of 256 a scale each.
std::uint64_t int8_bytes(const Shape& shape) {
  const std::int64_t codes = shape[0] * ((shape[1] + 31) / 32 * 32);
  return static_cast<std::uint64_t>((codes + 255) / 256 * 256) +
         static_cast<std::uint64_t>(shape[0]) * sizeof(float);
}

}  // namespace

DeviceWeights::DeviceWeights(const WeightFiles& files, DType dtype, Quantization quantization,
                             const DeviceHabits& habits)
    : files_(files),
      weights_(files.all()),
      dtype_(dtype),
      quantization_(quantization),
      widens_biased_(habits.widens_biased_layers) {}

WeightFormat DeviceWeights::format(const Weight& weight) const {
  if (is_packed(weight.format)) return weight.format;
  if (weight.shape.size() != 2) return WeightFormat::plain;
  return weight_format(layer_quantization(quantized_weights(), files_, weight.name, quantization_));
}

/// Vectors are f32 there. Tables of embeddings stay on the host, which picks rows of them.
std::uint64_t DeviceWeights::bytes(const Weight& weight) const {
  if (weight.name.ends_with("embed_tokens.weight")) return 0;
  std::uint64_t bytes = elements(weight) * sizeof(float);
  if (format(weight) == WeightFormat::packed_int8) {
    bytes = int8_bytes(weight.shape);
  } else if (format(weight) == WeightFormat::packed_int4) {
    bytes = PackedLayout(WeightFormat::packed_int4, weight.shape).size_bytes();
  } else if (weight.shape.size() > 1) {
    bytes = elements(weight) * size_of(weight.dtype);
  }
  return (bytes + kWeightAlignment) / kWeightAlignment * kWeightAlignment;
}

/// A matrix as the file has it, and what records of it stand for in f32.
std::uint64_t DeviceWeights::scratch_bytes(const Weight& weight) const {
  if (format(weight) != WeightFormat::packed_int8) return 0;
  if (!is_packed(weight.format)) return elements(weight) * size_of(weight.dtype);
  const PackedLayout packed(weight.format, weight.shape);
  return packed.size_bytes() +
         static_cast<std::uint64_t>(packed.outputs * packed.depth) * sizeof(float);
}

std::uint64_t DeviceWeights::bytes(std::string_view prefix) const {
  std::uint64_t sum = 0;
  for (const Weight& weight : weights_) sum += weight.name.starts_with(prefix) ? bytes(weight) : 0;
  return sum;
}

std::uint64_t DeviceWeights::scratch_bytes(std::string_view prefix) const {
  std::uint64_t most = 0;
  for (const Weight& weight : weights_) {
    if (weight.name.starts_with(prefix)) most = std::max(most, scratch_bytes(weight));
  }
  return most;
}

std::uint64_t DeviceWeights::copied_bytes(std::string_view prefix) const {
  std::set<std::string> biased;
  for (const Weight& weight : weights_) {
    if (weight.name.ends_with(".bias"))
      biased.insert(weight.name.substr(0, weight.name.size() - 4));
  }
  std::set<std::uint64_t> sizes;
  for (const Weight& weight : weights_) {
    if (!is_matrix(weight) || !weight.name.starts_with(prefix)) continue;
    const WeightFormat form = format(weight);
    const bool has_bias =
        widens_biased_ && biased.contains(weight.name.substr(0, weight.name.rfind('.') + 1));
    const bool widened = form == WeightFormat::plain && weight.dtype != DType::f32 &&
                         (weight.dtype != dtype_ || (has_bias && weight.shape.size() == 2));
    if (widened) sizes.insert(elements(weight) * size_of(DType::f32));
    if (form == WeightFormat::packed_int4) sizes.insert(elements(weight) * size_of(dtype_));
  }
  const std::uint64_t sum = std::accumulate(sizes.begin(), sizes.end(), std::uint64_t{0});
  return sum + sum / 8;
}

bool DeviceWeights::widens_activations() const {
  return dtype_ != DType::f32 && std::ranges::any_of(weights_, [&](const Weight& weight) {
           return weight.shape.size() > 1 && format(weight) == WeightFormat::plain &&
                  weight.dtype != dtype_;
         });
}

bool DeviceWeights::has_int8() const {
  return std::ranges::any_of(
      weights_, [&](const Weight& weight) { return format(weight) == WeightFormat::packed_int8; });
}

}  // namespace ernie_image
