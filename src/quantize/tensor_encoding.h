// Weights turned into the bytes of another type, piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "core/weight.h"
#include "io/gguf_blocks.h"

namespace ernie_image {

using AppendBytes = std::function<void(std::span<const std::byte>)>;

/// A tensor of a file to be written.
struct EncodedTensor {
  std::string name;
  std::string type;  ///< "Q4_K", "F8_E4M3"
  Shape shape;       ///< of numbers, also where a type has blocks of them
  std::uint64_t bytes = 0;
  std::uint64_t source_bytes = 0;  ///< to read
  /// Appends exactly `bytes`. Throws Error(invalid_argument) naming the weight that the type
  /// cannot hold.
  std::function<void(ThreadPool& pool, const AppendBytes& append)> write;
};

/// The row of a weight [N, K] that is written as row `row`.
using RowOrder = std::function<std::int64_t(std::int64_t row)>;

/// `weight` in a type of gguf_encode.h, of whose blocks its rows have whole numbers.
EncodedTensor encode_tensor(const Weight& weight, const std::string& name, const GgufType& type,
                            const RowOrder& order = {});

/// A weight as the file has it, of any plain type.
EncodedTensor copy_tensor(const Weight& weight, const std::string& name);

/// Some bytes, U8 [n].
EncodedTensor text_tensor(const std::string& name, const std::string& text);

/// ComfyUI's forms of a matrix: <module>.weight in F8_E4M3 or I8, .weight_scale in F32, and
/// .comfy_quant, which says so. `module` ends without a point.
std::vector<EncodedTensor> encode_comfy(const Weight& weight, const std::string& module,
                                        const std::string& type);

}  // namespace ernie_image
