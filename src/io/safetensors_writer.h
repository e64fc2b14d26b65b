// The beginning of a safetensors file whose data is written piece by piece.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace ernie_image {

/// A tensor to come.
struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;

  std::uint64_t size_bytes() const {
    return static_cast<std::uint64_t>(num_elements(shape)) * size_of(dtype);
  }
};

/// Length and header of a file that holds the data of `tensors` in that order, padded with spaces
/// so that the data begins at a multiple of 64. `path` is for messages. Throws
/// Error(invalid_argument) for a name that occurs twice, is not UTF-8 or is "__metadata__".
std::string safetensors_beginning(const std::string& path, const std::vector<TensorEntry>& tensors,
                                  const std::map<std::string, std::string>& metadata);

}  // namespace ernie_image
