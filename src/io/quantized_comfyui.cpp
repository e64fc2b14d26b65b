// What ComfyUI, modelopt and GGUF's NVFP4 write: codes of 8 and 4 bits beside tensors of scales.
#include "io/quantized_recognizer.h"

namespace ernie_image {

void QuantizedRecognizer::scaled_bytes(const std::string& module, const std::string& ending,
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

void QuantizedRecognizer::second_factor(const std::string& module, const Weight& weight) {
  const std::string name = module + ".weight", scale = module + ".scale";
  add(name, weight.shape, make_factor_decoder(weight.decoder, number(scale, name)), {name, scale});
  ignore_beside(module);
}

void QuantizedRecognizer::comfy_as(const std::string& module, const nlohmann::json& object) {
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

void QuantizedRecognizer::comfy_fp8(const std::string& module) {
  const std::string name = module + ".weight";
  if (!is_fp8(need(name, name).dtype))
    fail(name, "is " + described(need(name, name)) + ", but is described as fp8");
  if (find(module + ".weight_scale") != nullptr) scaled_bytes(module, ".weight_scale", "fp8");
}

void QuantizedRecognizer::comfy_int8(const std::string& module, const nlohmann::json& object) {
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

void QuantizedRecognizer::comfy_nvfp4(const std::string& module) {
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

void QuantizedRecognizer::comfy_mxfp8(const std::string& module) {
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

void QuantizedRecognizer::check_swizzled(const std::string& name, const Weight& scale,
                                         std::int64_t rows, std::int64_t columns,
                                         std::int64_t group) const {
  const std::int64_t expected = up_to(rows, 128) * up_to((columns + group - 1) / group, 4);
  if (size_of(scale.dtype) == 1 && scale.format == WeightFormat::plain && extent(scale) == expected)
    return;
  fail(name, "is " + described(scale) + ", expected " + std::to_string(expected) +
                 " bytes: scales of groups of " + std::to_string(group) + " of a weight [" +
                 std::to_string(rows) + ", " + std::to_string(columns) + "]");
}

void QuantizedRecognizer::modelopt_nvfp4(const std::string& module) {
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

}  // namespace ernie_image
