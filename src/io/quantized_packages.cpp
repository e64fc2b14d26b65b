// quanto, torchao, SDNQ.
#include "io/quantized_recognizer.h"

namespace ernie_image {

void QuantizedRecognizer::quanto(const std::string& module) {
  const std::string data = module + ".weight._data", scale = module + ".weight._scale";
  const Weight& weight = matrix(data);
  if (!is_byte(weight.dtype)) fail(data, "is " + described(weight) + ", expected 8-bit values");
  CodeScaling scaling;
  scaling.scale = scales(scale, data, weight.shape[0], weight.shape[1], scaling.group);
  add(module + ".weight", weight.shape,
      make_code_decoder(weight.dtype == DType::i8 ? "int8 (quanto)" : "fp8 (quanto)",
                        byte_grid(weight), scaling, weight.owner),
      {data, scale});
  ignore_beside(module);
}

void QuantizedRecognizer::quanto_int4(const std::string& module) {
  const std::string name = module + ".weight", data = name + "._data._data";
  const std::string scale = name + "._scale", shift = name + "._shift";
  const Weight& weight = matrix(data);
  if (weight.dtype != DType::u8) fail(data, "is " + described(weight) + ", expected U8");
  const std::int64_t groups = 2 * weight.shape[0], width = weight.shape[1];
  const Weight& scale_tensor = numbers(scale, name, groups);
  const Weight& shift_tensor = numbers(shift, name, groups);
  CodeScaling scaling;
  scaling.scale = make_scales(scale_tensor, groups, 1);
  scaling.after = make_scales(shift_tensor, groups, 1);
  scaling.after_sign = -1;
  const auto code = nibble_values([](int value) { return static_cast<float>(value); });
  add(name, {groups * width},
      make_code_decoder("int4 (quanto)", nibble_grid(weight, Order::halves, groups, width, code),
                        scaling, weight.owner),
      {data, scale, shift});
  ignore_beside(module);
}

void QuantizedRecognizer::torchao(const std::string& module) {
  const std::string data = module + "._weight_qdata", scale = module + "._weight_scale";
  const std::string zero = module + "._weight_zero_point";
  const Weight& weight = matrix(data);
  if (weight.dtype != DType::i8 && !is_fp8(weight.dtype))
    refuse(module + ".weight", "torchao with codes of " + described(weight));
  CodeScaling scaling;
  scaling.scale = scales(scale, data, weight.shape[0], weight.shape[1], scaling.group);
  std::vector<std::string> sources = {data, scale};
  if (const Weight* points = find(zero)) {
    std::int64_t group = 0;
    if (points->dtype == DType::i8 || is_weight_number(points->dtype)) {
      scaling.before = scales(zero, data, weight.shape[0], weight.shape[1], group);
      if (group != scaling.group) fail(zero, "is " + described(*points) + ", unlike the scales");
      sources.push_back(zero);
    } else {
      refuse(module + ".weight", "torchao with zero points of " + described(*points));
    }
  }
  add(module + ".weight", weight.shape,
      make_code_decoder(weight.dtype == DType::i8 ? "int8 (torchao)" : "fp8 (torchao)",
                        byte_grid(weight), scaling, weight.owner),
      sources);
  ignore_beside(module);
}

void QuantizedRecognizer::sdnq(const std::string& module) {
  const std::string name = module + ".weight", scale = module + ".scale",
                    zero = module + ".zero_point";
  const Weight& weight = need(name, name);
  const Weight& scale_tensor = need(scale, name);
  const std::string type = text_of(config_, "weights_dtype");
  for (const char* ending :
       {".scale_2", ".scale_zero_point", ".zero_point_scale", ".zero_point_2"}) {
    if (find(module + ending) != nullptr)
      refuse(name, "SDNQ with scales that are quantised themselves");
  }
  if (flag_of(config_, "use_hadamard") || flag_of(config_, "use_codebook"))
    refuse(name, "SDNQ with rotated weights or a codebook");
  std::vector<std::string> sources = {name, scale};
  CodeGrid grid;
  Shape shape;
  CodeScaling scaling;
  const bool flat = weight.shape.size() != 2 && weight.dtype == DType::u8;
  if (!type.empty() && flat && type != "uint4" && type != "int4") refuse(name, "SDNQ " + type);
  if (flat) {
    if (scale_tensor.shape.size() < 2) fail(scale, "is " + described(scale_tensor));
    const std::int64_t rows = scale_tensor.shape[0];
    const std::int64_t elements = 2 * extent(weight);
    if (rows < 1 || elements % rows != 0)
      fail(name, "is " + described(weight) + ", unlike its scales");
    const int offset = type == "int4" ? 8 : 0;
    grid = nibble_grid(weight, Order::low_first, rows, elements / rows,
                       nibble_values([&](int code) { return static_cast<float>(code - offset); }));
    shape = {rows, elements / rows};
  } else {
    shape = matrix(name).shape;
    grid = byte_grid(weight);
    // For products of integers the matrix lies transposed, [K, N], and so do its scales, [1, N].
    if (scale_tensor.shape.size() == 2 && scale_tensor.shape[0] == 1 && scale_tensor.shape[1] > 1 &&
        scale_tensor.shape[1] == shape[1]) {
      std::swap(shape[0], shape[1]);
      grid.rows = shape[0];
      grid.columns = grid.stride = shape[1];
      grid.transposed = true;
    }
  }
  scaling.scale = scales(scale, name, shape[0], shape[1], scaling.group);
  if (find(zero) != nullptr) {
    std::int64_t group = 0;
    scaling.after = scales(zero, name, shape[0], shape[1], group);
    if (group != scaling.group) fail(zero, "is unlike the scales");
    sources.push_back(zero);
  }
  const std::string kind =
      flat ? (type.empty() ? "uint4" : type)
           : std::string(is_fp8(weight.dtype) ? "fp8" : dtype_name(weight.dtype));
  Decoder decoder = make_code_decoder(kind + " (SDNQ)", grid, scaling, weight.owner);
  if (find(module + ".svd_up") != nullptr) decoder = add_low_rank(module, shape, decoder, sources);
  add(name, shape, std::move(decoder), sources);
  ignore_beside(module);
}

Decoder QuantizedRecognizer::add_low_rank(const std::string& module, const Shape& shape,
                                          Decoder inner, std::vector<std::string>& sources) const {
  const std::string up_name = module + ".svd_up", down_name = module + ".svd_down";
  const Weight &up = matrix(up_name), &down = matrix(down_name);
  const bool fits = is_weight_number(up.dtype) && is_weight_number(down.dtype) &&
                    up.shape[0] == shape[0] && up.shape[1] == down.shape[0] &&
                    down.shape[1] == shape[1];
  if (!fits) {
    fail(up_name, "is " + described(up) + " and svd_down " + described(down) + ", for a weight " +
                      to_string(shape));
  }
  sources.push_back(up_name);
  sources.push_back(down_name);
  return make_low_rank_decoder(std::move(inner), up, down);
}

}  // namespace ernie_image
