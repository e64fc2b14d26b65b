#include "common/precision_names.h"

#include "core/quantization.h"

namespace ernie_image {

std::string precision_name(Precision precision) {
  return precision == Precision::bf16 ? "bf16" : "fp32";
}

std::string precision_name(DType dtype) {
  return precision_name(dtype == DType::bf16 ? Precision::bf16 : Precision::fp32);
}

std::optional<Precision> precision_from_name(std::string_view name) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    if (name == precision_name(precision)) return precision;
  }
  return std::nullopt;
}

std::string quantization_name(Quantization quantization) {
  return std::string(format_name(weight_format(quantization)));
}

std::optional<Quantization> quantization_from_name(std::string_view name) {
  for (const Quantization quantization :
       {Quantization::none, Quantization::int8, Quantization::int4}) {
    if (name == quantization_name(quantization)) return quantization;
  }
  return std::nullopt;
}

}  // namespace ernie_image
