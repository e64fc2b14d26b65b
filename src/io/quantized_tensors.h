// Weights that other programs wrote quantised: several tensors of a file, recognised by their names
// and types, become one weight. docs/formats.md lists the formats.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/weight.h"
#include "io/tensor_file.h"

namespace ernie_image {

/// A tensor of a component, and where it lies.
struct FileTensor {
  Weight weight;
  std::vector<FilePart> pieces;  ///< of the mapped file: its values, scales and so on
};

using FileTensors = std::map<std::string, FileTensor, std::less<>>;

struct RecognizedTensors {
  FileTensors weights;
  /// What stands beside the weights and is not read: scales of activations, markers.
  std::vector<std::string> ignored;
};

/// `metadata` is the header's; `config` the text of the config.json beside the weights, or "".
/// Throws Error(corrupt_file) with `where` for tensors that contradict each other,
/// Error(unsupported) for a format that is known but cannot be read.
RecognizedTensors recognize_quantized(const std::string& where, const FileTensors& stored,
                                      const std::map<std::string, std::string>& metadata,
                                      const std::string& config);

}  // namespace ernie_image
