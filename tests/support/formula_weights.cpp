#include "support/formula_weights.h"

#include <memory>

#include "core/half.h"
#include "ernie_image/error.h"

namespace ernie_image::golden {
namespace {

std::uint64_t fnv1a_64(const std::string& text) {
  std::uint64_t value = 0xcbf29ce484222325u;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return value;
}

}  // namespace

Tensor formula_tensor(const std::string& name, const Shape& shape, float amp, float offset) {
  const std::uint64_t key = fnv1a_64(name);
  Tensor tensor = Tensor::host(DType::bf16, shape);
  std::uint16_t* out = tensor.data<std::uint16_t>();
  for (std::int64_t i = 0; i < tensor.size(); ++i) {
    std::uint64_t z = key + static_cast<std::uint64_t>(i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    const float unit = static_cast<float>(z >> 48) * (2.0f / 65536.0f) - 1.0f;
    out[i] = float_to_bf16(unit * amp + offset);
  }
  return tensor;
}

Weight FormulaWeights::get(const std::string& name, const Shape& expected_shape) {
  if (!contains(name)) throw Error(ErrorKind::not_found, name + " is not in the weight table");
  const auto& entry = table_[name];
  const auto shape = entry["shape"].get<Shape>();
  if (num_elements(shape) != num_elements(expected_shape)) {
    throw Error(ErrorKind::corrupt_file,
                name + ": shape " + to_string(shape) + ", expected " + to_string(expected_shape));
  }
  auto tensor =
      std::make_shared<Tensor>(formula_tensor(name, expected_shape, entry["amp"], entry["offset"]));
  return {name, DType::bf16, expected_shape, tensor->bytes(), tensor};
}

}  // namespace ernie_image::golden
