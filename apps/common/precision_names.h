// What flags, reports and records call the numbers in which the work is done.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/dtype.h"
#include "ernie_image/precision.h"

namespace ernie_image {

/// "fp32" or "bf16"
std::string precision_name(Precision precision);

/// The same of the tensors between operations.
std::string precision_name(DType dtype);

/// The reverse, nothing for an unknown name.
std::optional<Precision> precision_from_name(std::string_view name);

/// "none", "int8" or "int4"
std::string quantization_name(Quantization quantization);

/// The reverse, nothing for an unknown name.
std::optional<Quantization> quantization_from_name(std::string_view name);

}  // namespace ernie_image
