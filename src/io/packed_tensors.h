// Quantised weights in safetensors files: a U8 tensor [panels, record bytes] under the weight's own
// name (core/packed_weight.h has the bytes), and metadata that says what it means
// (docs/formats.md).
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/weight.h"

namespace ernie_image {

/// The version of the layout that core/packed_weight.h describes, and the one before, which has the
/// same places but other scales.
inline constexpr std::string_view kPackedVersion = "2";
inline constexpr std::string_view kOldPackedVersion = "1";

/// Metadata key of the version.
inline constexpr std::string_view kPackedVersionKey = "ernie_image.packed";

/// Metadata key of one packed tensor; the value is "int8 N K", "int4 N K" or "int8_rows N K".
std::string packed_key(std::string_view tensor);
std::string packed_value(WeightFormat format, const Shape& shape);
std::string row_codes_value(const Shape& shape);

/// The [panels, record bytes] of the U8 tensor, and the [bytes] of one as core/row_codes.h has it.
Shape packed_extents(WeightFormat format, const Shape& shape);
Shape row_codes_extents(const Shape& shape);

/// Makes packed weights, or encoded ones of row_codes.h, of the U8 tensors that `metadata` names.
/// Throws Error(corrupt_file) for a version or format that this program does not know, a tensor
/// that is absent or has another size than its layout demands, or does not begin at a multiple of
/// 64 bytes.
void apply_packed_metadata(const std::string& path,
                           const std::map<std::string, std::string>& metadata,
                           std::map<std::string, Weight, std::less<>>& weights);

}  // namespace ernie_image
