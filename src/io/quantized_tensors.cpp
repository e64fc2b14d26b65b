#include "io/quantized_tensors.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "ernie_image/error.h"
#include "io/json.h"
#include "io/small_floats.h"
#include "io/weight_decoders.h"

namespace ernie_image {
namespace {

using Order = CodeGrid::Order;

constexpr std::int64_t kMaxMatrixExtent = std::int64_t{1} << 31;
constexpr std::size_t kMaxJson = 1 << 16;

bool is_fp8(DType dtype) {
  return dtype == DType::f8_e4m3 || dtype == DType::f8_e5m2 || dtype == DType::f8_e4m3fnuz ||
         dtype == DType::f8_e5m2fnuz;
}

bool is_byte(DType dtype) { return is_fp8(dtype) || dtype == DType::i8 || dtype == DType::u8; }

std::string described(const Weight& tensor) {
  return std::string(dtype_name(tensor.dtype)) + " " + to_string(tensor.shape);
}

std::int64_t extent(const Weight& tensor) { return num_elements(tensor.shape); }

constexpr std::int64_t up_to(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// The 16 numbers of four bits.
std::array<float, 256> nibble_values(const std::function<float(int)>& value) {
  std::array<float, 256> values{};
  for (int code = 0; code < 16; ++code) values[static_cast<std::size_t>(code)] = value(code);
  return values;
}

std::array<float, 256> e2m1_values() {
  return nibble_values([](int code) { return kE2m1[static_cast<std::size_t>(code)]; });
}

class Recognizer {
 public:
  Recognizer(const std::string& where, const FileTensors& stored,
             const std::map<std::string, std::string>& metadata, const std::string& config)
      : where_(where), stored_(stored) {
    read_metadata(metadata);
    if (!config.empty()) read_config(config);
  }

  RecognizedTensors run() {
    for (const auto& [name, tensor] : stored_) recognize(name);
    for (const auto& [name, tensor] : stored_) {
      if (!used_.contains(name)) add_plain(name, tensor);
    }
    return std::move(result_);
  }

 private:
  // ---- looking things up
  // -------------------------------------------------------------------------

  [[noreturn]] void fail(const std::string& name, const std::string& problem) const {
    throw Error(ErrorKind::corrupt_file, where_ + ": " + printable(name) + ": " + problem);
  }

  [[noreturn]] void refuse(const std::string& name, const std::string& format) const {
    throw Error(ErrorKind::unsupported,
                where_ + ": " + printable(name) + " is in the format " + format +
                    ", which this program cannot read; docs/formats.md lists those it can");
  }

  const Weight* find(const std::string& name) const {
    const auto found = stored_.find(name);
    return found == stored_.end() ? nullptr : &found->second.weight;
  }

  const Weight& need(const std::string& name, const std::string& for_what) const {
    const Weight* tensor = find(name);
    if (tensor == nullptr) fail(name, "is missing, but " + printable(for_what) + " needs it");
    return *tensor;
  }

  /// One of F32, F16, BF16 with that many elements.
  const Weight& numbers(const std::string& name, const std::string& for_what,
                        std::int64_t count) const {
    const Weight& tensor = need(name, for_what);
    if (!is_weight_number(tensor.dtype) || tensor.format != WeightFormat::plain ||
        extent(tensor) != count)
      fail(name, "is " + described(tensor) + ", expected " + std::to_string(count) + " numbers");
    return tensor;
  }

  float number(const std::string& name, const std::string& for_what) const {
    float value = 0;
    widen_elements(numbers(name, for_what, 1), 0, 1, &value);
    if (!std::isfinite(value)) fail(name, "is not finite");
    return value;
  }

  const Weight& matrix(const std::string& name) const {
    const Weight& tensor = need(name, name);
    const bool sized = tensor.shape.size() == 2 && tensor.shape[0] > 0 && tensor.shape[1] > 0 &&
                       tensor.shape[0] < kMaxMatrixExtent && tensor.shape[1] < kMaxMatrixExtent;
    if (!sized) fail(name, "is " + described(tensor) + ", expected a matrix");
    return tensor;
  }

  nlohmann::json json_of(const std::string& name) const {
    const Weight& tensor = need(name, name);
    if (size_of(tensor.dtype) != 1 || tensor.size_bytes() > kMaxJson)
      fail(name, "is " + described(tensor) + ", expected some JSON in bytes");
    return parsed(name, {reinterpret_cast<const char*>(tensor.data), tensor.size_bytes()});
  }

  nlohmann::json parsed(const std::string& name, std::string_view text) const {
    nlohmann::json object =
        parse_json(FileView{where_ + ": " + name, std::as_bytes(std::span(text)), nullptr, -1});
    if (!object.is_object()) fail(name, "is no JSON object");
    return object;
  }

  static std::string text_of(const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
  }

  static bool flag_of(const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_boolean() && found->get<bool>();
  }

  std::int64_t integer_of(const std::string& name, const nlohmann::json& object, const char* key,
                          std::int64_t fallback) const {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return fallback;
    if (!found->is_number_integer()) fail(name, std::string(key) + " is no whole number");
    return found->get<std::int64_t>();
  }

  // ---- handing things over
  // -----------------------------------------------------------------------

  /// The weight `name`, read by `decoder` from the tensors `sources`, all of which are used.
  void add(const std::string& name, Shape shape, Decoder decoder,
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

  void ignore(const std::string& name) {
    if (find(name) == nullptr || used_.contains(name)) return;
    used_.insert(name);
    result_.ignored.push_back(name);
  }

  /// A name with one of these endings belongs to a quantised weight and says nothing about it.
  void ignore_beside(const std::string& module) {
    for (const char* ending : {".comfy_quant", ".input_scale", ".output_scale", ".scale_input",
                               ".weight_format", ".weight_shape", ".input_global_scale",
                               ".input_zero_point", ".weight.input_scale", ".pre_quant_scale"}) {
      ignore(module + ending);
    }
  }

  void add_plain(const std::string& name, const FileTensor& tensor) {
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
  // -------------------------------------------------------------------------------------

  static CodeGrid byte_grid(const Weight& tensor) {
    CodeGrid grid;
    grid.data = tensor.data;
    grid.rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
    grid.columns = grid.stride = std::max<std::int64_t>(1, extent(tensor) / grid.rows);
    grid.values = byte_values(tensor.dtype);
    return grid;
  }

  static CodeGrid nibble_grid(const Weight& tensor, Order order, std::int64_t rows,
                              std::int64_t columns, const std::array<float, 256>& values) {
    CodeGrid grid;
    grid.data = tensor.data;
    grid.order = order;
    grid.rows = rows;
    grid.columns = grid.stride = columns;
    grid.values = values;
    return grid;
  }

  /// `name` as scales of an [N, K] weight: one, N, or N times a divisor of K. Gives the group.
  ScalesPtr scales(const std::string& name, const std::string& for_what, std::int64_t rows,
                   std::int64_t columns, std::int64_t& group) const {
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
  // -----------------------------------------------------------------------------------

  void recognize(const std::string& name) {
    const auto is = [&](std::string_view ending, auto method) {
      if (!name.ends_with(ending) || used_.contains(name)) return false;
      (this->*method)(name.substr(0, name.size() - ending.size()));
      return true;
    };
    is(".comfy_quant", &Recognizer::comfy) ||
        is(".weight.quant_state.bitsandbytes__nf4", &Recognizer::bnb_nf4) ||
        is(".weight.quant_state.bitsandbytes__fp4", &Recognizer::bnb_fp4) ||
        is(".SCB", &Recognizer::bnb_int8) || is(".weight._data", &Recognizer::quanto) ||
        is(".weight._data._data", &Recognizer::quanto_int4) ||
        is("._weight_qdata", &Recognizer::torchao) ||
        is(".weight_packed", &Recognizer::compressed) || is(".scale_weight", &Recognizer::legacy) ||
        is(".weight", &Recognizer::beside_weight) ||
        (name.ends_with("scaled_fp8") && (ignore(name), true));
  }

  void read_metadata(const std::map<std::string, std::string>& metadata) {
    const auto found = metadata.find("_quantization_metadata");
    if (found == metadata.end()) return;
    const nlohmann::json object = parsed(found->first, found->second);
    const auto layers = object.find("layers");
    if (layers == object.end() || !layers->is_object()) return;
    for (const auto& [module, entry] : layers->items()) {
      if (entry.is_object()) comfy_layers_.emplace(module, entry);
    }
  }

  void read_config(const std::string& text) {
    const nlohmann::json object = parsed("config.json", text);
    const auto found = object.find("quantization_config");
    if (found != object.end() && found->is_object()) config_ = *found;
  }

  /// What has no marker of its own but a tensor beside `<module>.weight`.
  void beside_weight(const std::string& module) {
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

  /// Codes of 8 bits in the weight's shape times scales.
  void scaled_bytes(const std::string& module, const std::string& ending,
                    const std::string& format) {
    const std::string name = module + ".weight";
    const Weight& weight = matrix(name);
    if (!is_byte(weight.dtype) || weight.format != WeightFormat::plain)
      fail(name, "is " + described(weight) + ", expected 8-bit values for the format " + format);
    CodeScaling scaling;
    scaling.scale = scales(module + ending, name, weight.shape[0], weight.shape[1], scaling.group);
    add(name, weight.shape, make_code_decoder(format, byte_grid(weight), scaling, weight.owner),
        {name, module + ending});
    ignore_beside(module);
  }

  void legacy(const std::string& module) { scaled_bytes(module, ".scale_weight", "fp8"); }

  /// NVFP4 of GGUF.
  void second_factor(const std::string& module, const Weight& weight) {
    const std::string name = module + ".weight", scale = module + ".scale";
    add(name, weight.shape, make_factor_decoder(weight.decoder, number(scale, name)),
        {name, scale});
    ignore_beside(module);
  }

  void comfy(const std::string& module) { comfy_as(module, json_of(module + ".comfy_quant")); }

  void comfy_as(const std::string& module, const nlohmann::json& object) {
    const std::string format = text_of(object, "format");
    if (format == "float8_e4m3fn" || format == "float8_e5m2") {
      comfy_fp8(module);
    } else if (format == "int8_tensorwise") {
      comfy_int8(module, object);
    } else if (format == "nvfp4") {
      comfy_nvfp4(module);
    } else if (format == "mxfp8") {
      comfy_mxfp8(module);
    } else {
      refuse(module + ".weight", "\"" + format + "\" of ComfyUI");
    }
    ignore_beside(module);
  }

  void comfy_fp8(const std::string& module) {
    const std::string name = module + ".weight";
    if (!is_fp8(need(name, name).dtype))
      fail(name, "is " + described(need(name, name)) + ", but is described as fp8");
    if (find(module + ".weight_scale") != nullptr) scaled_bytes(module, ".weight_scale", "fp8");
  }

  void comfy_int8(const std::string& module, const nlohmann::json& object) {
    const std::string name = module + ".weight";
    const Weight& weight = matrix(name);
    if (weight.dtype != DType::i8) fail(name, "is " + described(weight) + ", expected I8");
    CodeScaling scaling;
    scaling.scale =
        scales(module + ".weight_scale", name, weight.shape[0], weight.shape[1], scaling.group);
    Decoder decoder = make_code_decoder("int8", byte_grid(weight), scaling, weight.owner);
    if (flag_of(object, "convrot")) {
      const std::int64_t group = integer_of(name, object, "convrot_groupsize", 256);
      const bool power = group >= 4 && group <= 4096 && (group & (group - 1)) == 0 &&
                         std::countr_zero(static_cast<std::uint64_t>(group)) % 2 == 0;
      if (!power || weight.shape[1] % group != 0) {
        fail(name, "is rotated in groups of " + std::to_string(group) +
                       ", expected a power of 4 that divides " + std::to_string(weight.shape[1]));
      }
      decoder = make_rotated_decoder(
          make_code_decoder("int8 convrot", byte_grid(weight), scaling, weight.owner), group);
    }
    add(name, weight.shape, std::move(decoder), {name, module + ".weight_scale"});
  }

  void comfy_nvfp4(const std::string& module) {
    const std::string name = module + ".weight", block = module + ".weight_scale";
    const Weight& weight = matrix(name);
    const Weight& scale = need(block, name);
    if (weight.dtype != DType::u8) fail(name, "is " + described(weight) + ", expected U8");
    const std::int64_t rows = weight.shape[0], columns = 2 * weight.shape[1];
    check_swizzled(block, scale, rows, columns, 16);
    CodeScaling scaling;
    scaling.scale = make_swizzled_scales(scale, DType::f8_e4m3, up_to((columns + 15) / 16, 4));
    scaling.factor = number(module + ".weight_scale_2", name);
    scaling.group = 16;
    add(name, {rows, columns},
        make_code_decoder("nvfp4",
                          nibble_grid(weight, Order::high_first, rows, columns, e2m1_values()),
                          scaling, weight.owner),
        {name, block, module + ".weight_scale_2"});
  }

  void comfy_mxfp8(const std::string& module) {
    const std::string name = module + ".weight", block = module + ".weight_scale";
    const Weight& weight = matrix(name);
    const Weight& scale = need(block, name);
    if (!is_fp8(weight.dtype)) fail(name, "is " + described(weight) + ", expected F8_E4M3");
    check_swizzled(block, scale, weight.shape[0], weight.shape[1], 32);
    CodeScaling scaling;
    scaling.scale =
        make_swizzled_scales(scale, DType::f8_e8m0, up_to((weight.shape[1] + 31) / 32, 4));
    scaling.group = 32;
    add(name, weight.shape, make_code_decoder("mxfp8", byte_grid(weight), scaling, weight.owner),
        {name, block});
  }

  void check_swizzled(const std::string& name, const Weight& scale, std::int64_t rows,
                      std::int64_t columns, std::int64_t group) const {
    const std::int64_t expected = up_to(rows, 128) * up_to((columns + group - 1) / group, 4);
    if (size_of(scale.dtype) == 1 && scale.format == WeightFormat::plain &&
        extent(scale) == expected)
      return;
    fail(name, "is " + described(scale) + ", expected " + std::to_string(expected) +
                   " bytes: scales of groups of " + std::to_string(group) + " of a weight [" +
                   std::to_string(rows) + ", " + std::to_string(columns) + "]");
  }

  void modelopt_nvfp4(const std::string& module) {
    const std::string name = module + ".weight";
    const Weight& weight = matrix(name);
    const std::int64_t rows = weight.shape[0], columns = 2 * weight.shape[1];
    CodeScaling scaling;
    scaling.scale = scales(module + ".weight_scale", name, rows, columns, scaling.group);
    scaling.factor = number(module + ".weight_scale_2", name);
    add(name, {rows, columns},
        make_code_decoder("nvfp4 (modelopt)",
                          nibble_grid(weight, Order::low_first, rows, columns, e2m1_values()),
                          scaling, weight.owner),
        {name, module + ".weight_scale", module + ".weight_scale_2"});
    ignore_beside(module);
  }

  // ---- bitsandbytes
  // ------------------------------------------------------------------------------

  void bnb_nf4(const std::string& module) { bnb_4bit(module, "nf4"); }
  void bnb_fp4(const std::string& module) { bnb_4bit(module, "fp4"); }

  Shape shape_of(const std::string& name, const nlohmann::json& object) const {
    const auto found = object.find("shape");
    if (found == object.end() || !found->is_array() || found->size() > 8)
      fail(name, "has no shape");
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

  void bnb_4bit(const std::string& module, const std::string& kind) {
    const std::string name = module + ".weight",
                      state = name + ".quant_state.bitsandbytes__" + kind;
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

  ScalesPtr bnb_absmax(const std::string& name, const nlohmann::json& object, std::int64_t groups,
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

  void bnb_int8(const std::string& module) {
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

  // ---- quanto, torchao, SDNQ
  // ---------------------------------------------------------------------

  void quanto(const std::string& module) {
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

  /// The matrix as rows of groups, whose number is that of the scales. Its own shape is in no
  /// tensor: whoever asks for the weight knows it.
  void quanto_int4(const std::string& module) {
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

  void torchao(const std::string& module) {
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

  void sdnq(const std::string& module) {
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
      grid =
          nibble_grid(weight, Order::low_first, rows, elements / rows,
                      nibble_values([&](int code) { return static_cast<float>(code - offset); }));
      shape = {rows, elements / rows};
    } else {
      shape = matrix(name).shape;
      grid = byte_grid(weight);
      // For products of integers the matrix lies transposed, [K, N], and so do its scales, [1, N].
      if (scale_tensor.shape.size() == 2 && scale_tensor.shape[0] == 1 &&
          scale_tensor.shape[1] > 1 && scale_tensor.shape[1] == shape[1]) {
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
    if (find(module + ".svd_up") != nullptr)
      decoder = add_low_rank(module, shape, decoder, sources);
    add(name, shape, std::move(decoder), sources);
    ignore_beside(module);
  }

  Decoder add_low_rank(const std::string& module, const Shape& shape, Decoder inner,
                       std::vector<std::string>& sources) const {
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

  // ---- compressed-tensors
  // ------------------------------------------------------------------------

  void compressed(const std::string& module) {
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

  void compressed_nvfp4(const std::string& module, const Weight& weight) {
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

  std::int64_t integer_at(const Weight& tensor, std::int64_t index) const {
    std::int64_t value = 0;
    for (std::size_t byte = 0; byte < size_of(tensor.dtype); ++byte) {
      value |= static_cast<std::int64_t>(
          std::to_integer<std::uint64_t>(
              tensor.data[static_cast<std::size_t>(index) * size_of(tensor.dtype) + byte])
          << (8 * byte));
    }
    return value;
  }

  void compressed_integers(const std::string& module, const Weight& weight) {
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
      grid =
          nibble_grid(weight, Order::low_first, rows, columns,
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

  const std::string& where_;
  const FileTensors& stored_;
  std::map<std::string, nlohmann::json> comfy_layers_;
  nlohmann::json config_ = nlohmann::json::object();
  std::set<std::string, std::less<>> used_;
  RecognizedTensors result_;
};

}  // namespace

RecognizedTensors recognize_quantized(const std::string& where, const FileTensors& stored,
                                      const std::map<std::string, std::string>& metadata,
                                      const std::string& config) {
  return Recognizer(where, stored, metadata, config).run();
}

}  // namespace ernie_image
