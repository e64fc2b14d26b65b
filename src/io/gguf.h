// GGUF, the format of llama.cpp and stable-diffusion.cpp: typed notes, tensors, their data.
// Versions 2 and 3, little or big endian.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/tensor_file.h"

namespace ernie_image {

class GgufFile : public TensorFile {
 public:
  /// Throws Error(corrupt_file) saying what is wrong: cut short (with both sizes), counts, lengths,
  /// offsets, alignment or dims that cannot be, types unknown to the format, names that occur
  /// twice. Reads what comes before the data only. Tensors of types that this program cannot decode
  /// are listed, with a decoder that says so.
  static GgufFile open(const std::string& path);

  std::optional<std::int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;

  /// The first value whose key ends so: "mistral3.block_count" for ".block_count".
  std::optional<std::int64_t> integer_of_any(std::string_view ending) const;

 private:
  friend class GgufReader;
  /// Arrays of more than a few numbers, and those of strings, are skipped.
  using Value = std::variant<std::int64_t, double, bool, std::string, std::vector<std::int64_t>>;
  std::map<std::string, Value, std::less<>> values_;
};

/// The parts of a split file, "model-00002-of-00003.gguf", in order; `path` alone for any other
/// name.
std::vector<std::string> gguf_parts(const std::string& path);

}  // namespace ernie_image
