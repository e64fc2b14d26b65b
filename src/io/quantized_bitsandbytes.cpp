// bitsandbytes: nf4 and fp4, nested or not, and int8.
#include "io/quantized_recognizer.h"

namespace ernie_image {

Shape QuantizedRecognizer::shape_of(const std::string& name, const nlohmann::json& object) const {
  const auto found = object.find("shape");
  if (found == object.end() || !found->is_array() || found->size() > 8) fail(name, "has no shape");
  Shape shape;
  std::int64_t elements = 1;
  for (const auto& value : *found) {
    if (!value.is_number_integer() || value.get<std::int64_t>() < 1 ||
        __builtin_mul_overflow(elements, value.get<std::int64_t>(), &elements)) {
      fail(name, "has the shape " + printable_json(*found));
    }
    shape.push_back(value.get<std::int64_t>());
  }
  return shape;
}

void QuantizedRecognizer::bnb_4bit(const std::string& module, const std::string& kind) {
  const std::string name = module + ".weight", state = name + ".quant_state.bitsandbytes__" + kind;
  const nlohmann::json object = json_of(state);
  const Weight& weight = need(name, state);
  const Shape shape = shape_of(state, object);
  const std::int64_t elements = num_elements(shape);
  const std::int64_t block = integer_of(state, object, "blocksize", 64);
  if (block < 1 || block > kMaxMatrixExtent)
    fail(state, "has a blocksize of " + std::to_string(block));
  if (weight.format != WeightFormat::plain ||
      weight.size_bytes() != static_cast<std::size_t>((elements + 1) / 2)) {
    fail(name, "is " + described(weight) + ", expected " + std::to_string((elements + 1) / 2) +
                   " bytes for a weight " + to_string(shape));
  }
  std::array<float, 256> map{};
  widen_elements(numbers(name + ".quant_map", name, 16), 0, 16, map.data());
  std::vector<std::string> sources = {name, name + ".absmax", name + ".quant_map", state};
  CodeScaling scaling;
  scaling.group = block;
  scaling.scale = bnb_absmax(name, object, (elements + block - 1) / block, sources);
  add(name, shape,
      make_code_decoder(kind, nibble_grid(weight, Order::high_first, 1, elements, map), scaling,
                        weight.owner),
      sources);
  ignore_beside(module);
}

ScalesPtr QuantizedRecognizer::bnb_absmax(const std::string& name, const nlohmann::json& object,
                                          std::int64_t groups,
                                          std::vector<std::string>& sources) const {
  const std::string absmax = name + ".absmax";
  if (find(name + ".nested_absmax") == nullptr)
    return make_scales(numbers(absmax, name, groups), 1, groups);
  const Weight& codes = need(absmax, name);
  if (codes.dtype != DType::u8 || extent(codes) != groups)
    fail(absmax, "is " + described(codes) + ", expected U8 [" + std::to_string(groups) + "]");
  const std::int64_t block = integer_of(name, object, "nested_blocksize", 256);
  if (block < 1 || block > kMaxMatrixExtent)
    fail(name, "has a nested_blocksize of " + std::to_string(block));
  const auto offset = object.find("nested_offset");
  if (offset == object.end() || !offset->is_number()) fail(name, "has no nested_offset");
  sources.push_back(name + ".nested_absmax");
  sources.push_back(name + ".nested_quant_map");
  return make_nested_scales(codes, numbers(name + ".nested_quant_map", name, 256),
                            numbers(name + ".nested_absmax", name, (groups + block - 1) / block),
                            block, offset->get<float>());
}

void QuantizedRecognizer::bnb_int8(const std::string& module) {
  const std::string name = module + ".weight", scale = module + ".SCB";
  const Weight& weight = matrix(name);
  if (weight.dtype != DType::i8) fail(name, "is " + described(weight) + ", expected I8");
  if (const Weight* format = find(module + ".weight_format");
      format != nullptr && size_of(format->dtype) == 1 && extent(*format) == 1 &&
      std::to_integer<int>(format->data[0]) != 0) {
    refuse(name, "bitsandbytes int8 in another order than by rows");
  }
  CodeScaling scaling;
  scaling.scale = make_scales(numbers(scale, name, weight.shape[0]), weight.shape[0], 1);
  scaling.factor = 1.0f / 127.0f;
  add(name, weight.shape,
      make_code_decoder("int8 (bitsandbytes)", byte_grid(weight), scaling, weight.owner),
      {name, scale});
  ignore_beside(module);
}

}  // namespace ernie_image
