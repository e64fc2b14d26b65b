// The safetensors format: 8-byte little-endian header length N, N bytes of JSON, then the data.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "io/tensor_file.h"

namespace ernie_image {

/// One mapped file whose header has been checked completely: every later access is within bounds.
class SafetensorsFile : public TensorFile {
 public:
  /// Throws Error(corrupt_file) saying what is wrong: too short, a git-lfs pointer, header not JSON
  /// or over 100 MB, unknown dtype, offsets that overlap, leave holes or contradict dtype x shape,
  /// file cut short (with both sizes), or what packed_tensors.h refuses. Reads the header only: no
  /// page of the data is touched.
  static SafetensorsFile open(const std::string& path);
};

/// Writes host tensors, largest element type first so that all are aligned; the file appears whole
/// or not at all. Throws Error(invalid_argument) for a name that occurs twice, is not UTF-8 or is
/// "__metadata__", Error(io).
void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace ernie_image
