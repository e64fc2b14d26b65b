// The beginning of a GGUF file whose data is written piece by piece.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/tensor.h"
#include "io/gguf_blocks.h"

namespace ernie_image {

inline constexpr std::uint64_t kGgufAlignment = 32;

/// A tensor to come.
struct GgufEntry {
  std::string name;
  const GgufType* type = nullptr;
  Shape shape;  ///< outermost first, as everywhere here; rows are whole blocks of `type`

  std::uint64_t size_bytes() const;
  /// With what fills it up, so that the next tensor is aligned.
  std::uint64_t stored_bytes() const;
};

/// Keys and values in the order of writing.
using GgufNotes =
    std::vector<std::pair<std::string, std::variant<std::uint32_t, float, std::string>>>;

/// All that comes before the data of `tensors`, which follow in that order, each filled up with
/// zeros to `stored_bytes`. Version 3, little endian. `path` is for messages. Throws
/// Error(invalid_argument) for a name that occurs twice or a tensor of more than four axes.
std::string gguf_beginning(const std::string& path, const std::vector<GgufEntry>& tensors,
                           const GgufNotes& notes);

}  // namespace ernie_image
