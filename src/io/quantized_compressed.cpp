// compressed-tensors.
#include "io/quantized_recognizer.h"

namespace ernie_image {

void QuantizedRecognizer::compressed(const std::string& module) {
  const Weight& weight = matrix(module + ".weight_packed");
  if (find(module + ".weight_g_idx") != nullptr)
    refuse(module + ".weight", "compressed-tensors with reordered columns (weight_g_idx)");
  if (weight.dtype == DType::u8) {
    compressed_nvfp4(module, weight);
  } else if (weight.dtype == DType::i32) {
    compressed_integers(module, weight);
  } else {
    refuse(module + ".weight", "compressed-tensors with values of " + described(weight));
  }
  ignore_beside(module);
}

void QuantizedRecognizer::compressed_nvfp4(const std::string& module, const Weight& weight) {
  const std::string packed = module + ".weight_packed", global = module + ".weight_global_scale";
  const std::int64_t rows = weight.shape[0], columns = 2 * weight.shape[1];
  CodeScaling scaling;
  scaling.scale = scales(module + ".weight_scale", packed, rows, columns, scaling.group);
  std::vector<std::string> sources = {packed, module + ".weight_scale"};
  if (find(global) != nullptr) {
    const float divisor = number(global, packed);
    if (divisor == 0) fail(global, "is zero");
    scaling.factor = 1.0f / divisor;
    sources.push_back(global);
  }
  add(module + ".weight", {rows, columns},
      make_code_decoder("nvfp4 (compressed-tensors)",
                        nibble_grid(weight, Order::low_first, rows, columns, e2m1_values()),
                        scaling, weight.owner),
      sources);
}

std::int64_t QuantizedRecognizer::integer_at(const Weight& tensor, std::int64_t index) const {
  std::int64_t value = 0;
  for (std::size_t byte = 0; byte < size_of(tensor.dtype); ++byte) {
    value |= static_cast<std::int64_t>(
        std::to_integer<std::uint64_t>(
            tensor.data[static_cast<std::size_t>(index) * size_of(tensor.dtype) + byte])
        << (8 * byte));
  }
  return value;
}

void QuantizedRecognizer::compressed_integers(const std::string& module, const Weight& weight) {
  const std::string packed = module + ".weight_packed", shape_name = module + ".weight_shape";
  const Weight& shape = need(shape_name, packed);
  if ((shape.dtype != DType::i64 && shape.dtype != DType::i32) || extent(shape) != 2)
    fail(shape_name, "is " + described(shape) + ", expected two integers");
  const std::int64_t rows = integer_at(shape, 0), columns = integer_at(shape, 1);
  const bool eight = columns > 0 && weight.shape[1] == (columns + 3) / 4;
  const bool four = columns > 0 && weight.shape[1] == (columns + 7) / 8;
  if (rows != weight.shape[0] || (!eight && !four)) {
    fail(packed, "is " + described(weight) + ", but the weight [" + std::to_string(rows) + ", " +
                     std::to_string(columns) + "]: only 4 and 8 bits can be read");
  }
  CodeScaling scaling;
  scaling.scale = scales(module + ".weight_scale", packed, rows, columns, scaling.group);
  std::vector<std::string> sources = {packed, module + ".weight_scale"};
  const std::string zero = module + ".weight_zero_point";
  const bool has_zero = find(zero) != nullptr;
  if (has_zero) {
    const Weight& points = need(zero, packed);
    const std::int64_t groups = columns / scaling.group;
    if (!four || points.dtype != DType::i32 || extent(points) != (rows + 7) / 8 * groups)
      fail(zero, "is " + described(points) + ", expected I32 [" + std::to_string((rows + 7) / 8) +
                     ", " + std::to_string(groups) + "]");
    scaling.before = make_packed_row_numbers(points, groups);
    sources.push_back(zero);
  }
  CodeGrid grid;
  if (four) {
    // A zero point holds the same 8, which falls out of the difference.
    const int offset = has_zero ? 0 : 8;
    grid = nibble_grid(weight, Order::low_first, rows, columns,
                       nibble_values([&](int code) { return static_cast<float>(code - offset); }));
    grid.stride = weight.shape[1] * 8;
  } else {
    grid.data = weight.data;
    grid.rows = rows;
    grid.columns = columns;
    grid.stride = weight.shape[1] * 4;
    for (std::size_t code = 0; code < 256; ++code)
      grid.values[code] = static_cast<float>(code) - 128;
  }
  add(module + ".weight", {rows, columns},
      make_code_decoder(four ? "int4 (compressed-tensors)" : "int8 (compressed-tensors)", grid,
                        scaling, weight.owner),
      sources);
}

}  // namespace ernie_image
