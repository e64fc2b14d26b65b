#include "io/quantized_tensors.h"

#include "io/quantized_recognizer.h"

namespace ernie_image {

// ---- looking things up

void QuantizedRecognizer::fail(const std::string& name, const std::string& problem) const {
  throw Error(ErrorKind::corrupt_file, where_ + ": " + printable(name) + ": " + problem);
}

void QuantizedRecognizer::refuse(const std::string& name, const std::string& format) const {
  throw Error(ErrorKind::unsupported,
              where_ + ": " + printable(name) + " is in the format " + format +
                  ", which this program cannot read; docs/formats.md lists those it can");
}

const Weight* QuantizedRecognizer::find(const std::string& name) const {
  const auto found = stored_.find(name);
  return found == stored_.end() ? nullptr : &found->second.weight;
}

const Weight& QuantizedRecognizer::need(const std::string& name,
                                        const std::string& for_what) const {
  const Weight* tensor = find(name);
  if (tensor == nullptr) fail(name, "is missing, but " + printable(for_what) + " needs it");
  return *tensor;
}

const Weight& QuantizedRecognizer::numbers(const std::string& name, const std::string& for_what,
                                           std::int64_t count) const {
  const Weight& tensor = need(name, for_what);
  if (!is_weight_number(tensor.dtype) || tensor.format != WeightFormat::plain ||
      extent(tensor) != count)
    fail(name, "is " + described(tensor) + ", expected " + std::to_string(count) + " numbers");
  return tensor;
}

float QuantizedRecognizer::number(const std::string& name, const std::string& for_what) const {
  float value = 0;
  widen_elements(numbers(name, for_what, 1), 0, 1, &value);
  if (!std::isfinite(value)) fail(name, "is not finite");
  return value;
}

const Weight& QuantizedRecognizer::matrix(const std::string& name) const {
  const Weight& tensor = need(name, name);
  const bool sized = tensor.shape.size() == 2 && tensor.shape[0] > 0 && tensor.shape[1] > 0 &&
                     tensor.shape[0] < kMaxMatrixExtent && tensor.shape[1] < kMaxMatrixExtent;
  if (!sized) fail(name, "is " + described(tensor) + ", expected a matrix");
  return tensor;
}

nlohmann::json QuantizedRecognizer::json_of(const std::string& name) const {
  const Weight& tensor = need(name, name);
  if (size_of(tensor.dtype) != 1 || tensor.size_bytes() > kMaxJson)
    fail(name, "is " + described(tensor) + ", expected some JSON in bytes");
  return parsed(name, {reinterpret_cast<const char*>(tensor.data), tensor.size_bytes()});
}

nlohmann::json QuantizedRecognizer::parsed(const std::string& name, std::string_view text) const {
  nlohmann::json object =
      parse_json(FileView{where_ + ": " + name, std::as_bytes(std::span(text)), nullptr, -1});
  if (!object.is_object()) fail(name, "is no JSON object");
  return object;
}

std::string QuantizedRecognizer::text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool QuantizedRecognizer::flag_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

std::int64_t QuantizedRecognizer::integer_of(const std::string& name, const nlohmann::json& object,
                                             const char* key, std::int64_t fallback) const {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return fallback;
  if (!found->is_number_integer()) fail(name, std::string(key) + " is no whole number");
  return found->get<std::int64_t>();
}

// ---- handing things over

void QuantizedRecognizer::add(const std::string& name, Shape shape, Decoder decoder,
                              const std::vector<std::string>& sources) {
  FileTensor result;
  result.weight.name = name;
  result.weight.shape = std::move(shape);
  result.weight.format = WeightFormat::encoded;
  result.weight.decoder = std::move(decoder);
  for (const std::string& source : sources) {
    const FileTensor& tensor = stored_.at(source);
    used_.insert(source);
    if (result.weight.data == nullptr) result.weight.data = tensor.weight.data;
    if (result.weight.owner == nullptr) result.weight.owner = tensor.weight.owner;
    result.weight.packed_bytes += tensor.weight.size_bytes();
    result.pieces.insert(result.pieces.end(), tensor.pieces.begin(), tensor.pieces.end());
  }
  if (!result_.weights.emplace(name, std::move(result)).second)
    fail(name, "is described twice, in two formats");
}

void QuantizedRecognizer::ignore(const std::string& name) {
  if (find(name) == nullptr || used_.contains(name)) return;
  used_.insert(name);
  result_.ignored.push_back(name);
}

void QuantizedRecognizer::ignore_beside(const std::string& module) {
  for (const char* ending : {".comfy_quant", ".input_scale", ".output_scale", ".scale_input",
                             ".weight_format", ".weight_shape", ".input_global_scale",
                             ".input_zero_point", ".weight.input_scale", ".pre_quant_scale"}) {
    ignore(module + ending);
  }
}

void QuantizedRecognizer::add_plain(const std::string& name, const FileTensor& tensor) {
  const Weight& weight = tensor.weight;
  if (weight.format == WeightFormat::plain && is_fp8(weight.dtype) &&
      !name.ends_with("scaled_fp8")) {
    add(name, weight.shape,
        make_code_decoder(std::string(dtype_name(weight.dtype)), byte_grid(weight), {},
                          weight.owner),
        {name});
    return;
  }
  result_.weights.emplace(name, tensor);
}

// ---- grids

CodeGrid QuantizedRecognizer::byte_grid(const Weight& tensor) {
  CodeGrid grid;
  grid.data = tensor.data;
  grid.rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
  grid.columns = grid.stride = std::max<std::int64_t>(1, extent(tensor) / grid.rows);
  grid.values = byte_values(tensor.dtype);
  return grid;
}

CodeGrid QuantizedRecognizer::nibble_grid(const Weight& tensor, Order order, std::int64_t rows,
                                          std::int64_t columns,
                                          const std::array<float, 256>& values) {
  CodeGrid grid;
  grid.data = tensor.data;
  grid.order = order;
  grid.rows = rows;
  grid.columns = grid.stride = columns;
  grid.values = values;
  return grid;
}

ScalesPtr QuantizedRecognizer::scales(const std::string& name, const std::string& for_what,
                                      std::int64_t rows, std::int64_t columns,
                                      std::int64_t& group) const {
  const Weight& tensor = need(name, for_what);
  const std::int64_t count = extent(tensor);
  const bool readable =
      tensor.format == WeightFormat::plain &&
      (is_weight_number(tensor.dtype) || is_byte(tensor.dtype) || tensor.dtype == DType::f8_e8m0);
  const std::int64_t groups = count == 1 ? 1 : count / rows;
  if (!readable || count < 1 || (count != 1 && count % rows != 0) || columns % groups != 0) {
    fail(name, "is " + described(tensor) + ", which are no scales of a weight [" +
                   std::to_string(rows) + ", " + std::to_string(columns) + "]");
  }
  group = columns / groups;
  return make_scales(tensor, count == 1 ? 1 : rows, groups);
}

// ---- formats

void QuantizedRecognizer::recognize(const std::string& name) {
  const auto is = [&](std::string_view ending, auto method) {
    if (!name.ends_with(ending) || used_.contains(name)) return false;
    (this->*method)(name.substr(0, name.size() - ending.size()));
    return true;
  };
  is(".comfy_quant", &QuantizedRecognizer::comfy) ||
      is(".weight.quant_state.bitsandbytes__nf4", &QuantizedRecognizer::bnb_nf4) ||
      is(".weight.quant_state.bitsandbytes__fp4", &QuantizedRecognizer::bnb_fp4) ||
      is(".SCB", &QuantizedRecognizer::bnb_int8) ||
      is(".weight._data", &QuantizedRecognizer::quanto) ||
      is(".weight._data._data", &QuantizedRecognizer::quanto_int4) ||
      is("._weight_qdata", &QuantizedRecognizer::torchao) ||
      is(".weight_packed", &QuantizedRecognizer::compressed) ||
      is(".scale_weight", &QuantizedRecognizer::legacy) ||
      is(".weight", &QuantizedRecognizer::beside_weight) ||
      (name.ends_with("scaled_fp8") && (ignore(name), true));
}

void QuantizedRecognizer::read_metadata(const std::map<std::string, std::string>& metadata) {
  const auto found = metadata.find("_quantization_metadata");
  if (found == metadata.end()) return;
  const nlohmann::json object = parsed(found->first, found->second);
  const auto layers = object.find("layers");
  if (layers == object.end() || !layers->is_object()) return;
  for (const auto& [module, entry] : layers->items()) {
    if (entry.is_object()) comfy_layers_.emplace(module, entry);
  }
}

void QuantizedRecognizer::read_config(const std::string& text) {
  const nlohmann::json object = parsed("config.json", text);
  const auto found = object.find("quantization_config");
  if (found != object.end() && found->is_object()) config_ = *found;
}

void QuantizedRecognizer::beside_weight(const std::string& module) {
  if (find(module + ".comfy_quant") != nullptr) return;
  if (const auto found = comfy_layers_.find(module); found != comfy_layers_.end()) {
    comfy_as(module, found->second);
    return;
  }
  const Weight& weight = need(module + ".weight", module);
  const std::string state = module + ".weight.quant_state.bitsandbytes__";
  if (find(state + "nf4") != nullptr || find(state + "fp4") != nullptr) return;
  if (find(module + ".weight.absmax") != nullptr)
    fail(module + ".weight", "is of bitsandbytes, but its quant_state is missing");
  if (weight.format == WeightFormat::encoded && find(module + ".scale") != nullptr) {
    second_factor(module, weight);
  } else if (weight.format != WeightFormat::plain || !is_byte(weight.dtype)) {
    return;
  } else if (find(module + ".weight_scale_2") != nullptr && weight.dtype == DType::u8) {
    modelopt_nvfp4(module);
  } else if (find(module + ".weight_scale") != nullptr && weight.dtype != DType::u8) {
    scaled_bytes(module, ".weight_scale", weight.dtype == DType::i8 ? "int8" : "fp8");
  } else if (find(module + ".weight_scale_inv") != nullptr) {
    refuse(module + ".weight", "of blocks with weight_scale_inv");
  } else if (find(module + ".scale") != nullptr) {
    sdnq(module);
  }
}

RecognizedTensors recognize_quantized(const std::string& where, const FileTensors& stored,
                                      const std::map<std::string, std::string>& metadata,
                                      const std::string& config) {
  return QuantizedRecognizer(where, stored, metadata, config).run();
}

}  // namespace ernie_image
