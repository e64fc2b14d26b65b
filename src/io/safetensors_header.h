// The JSON header of a safetensors file, parsed and checked against itself.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/tensor.h"

namespace ernie_image {

/// One tensor: bytes [begin, end) of the data section, end - begin = elements x size of the type.
struct SafetensorsEntry {
  DType dtype = DType::f32;
  Shape shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry, std::less<>> tensors;
  std::map<std::string, std::string> metadata;
  std::uint64_t data_bytes = 0;  ///< where the last tensor ends
};

/// Throws Error(corrupt_file); `path` is for the message. As the format's own implementation
/// demands, the tensors cover the data section without holes or overlaps.
SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& path);

}  // namespace ernie_image
