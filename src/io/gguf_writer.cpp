#include "io/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <set>

#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::size_t kMostAxes = 4;  // of ggml

// Kinds of values, as the format numbers them.
constexpr std::uint32_t kU32 = 4, kF32 = 6, kText = 8;

std::uint64_t rounded_up(std::uint64_t bytes) {
  return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment;
}

void put(std::string& text, std::uint64_t value, int bytes) {
  for (int shift = 0; shift < 8 * bytes; shift += 8)
    text += static_cast<char>(value >> shift & 0xff);
}

void put_text(std::string& text, const std::string& value) {
  put(text, value.size(), 8);
  text += value;
}

struct ValueWriter {
  std::string& text;
  void operator()(std::uint32_t value) const {
    put(text, kU32, 4);
    put(text, value, 4);
  }
  void operator()(float value) const {
    put(text, kF32, 4);
    put(text, std::bit_cast<std::uint32_t>(value), 4);
  }
  void operator()(const std::string& value) const {
    put(text, kText, 4);
    put_text(text, value);
  }
};

}  // namespace

std::uint64_t GgufEntry::size_bytes() const {
  const std::int64_t elements = num_elements(shape);
  assert(elements % type->weights == 0);
  return static_cast<std::uint64_t>(elements / type->weights * type->bytes);
}

std::uint64_t GgufEntry::stored_bytes() const { return rounded_up(size_bytes()); }

std::string gguf_beginning(const std::string& path, const std::vector<GgufEntry>& tensors,
                           const GgufNotes& notes) {
  std::string text = "GGUF";
  put(text, kVersion, 4);
  put(text, tensors.size(), 8);
  put(text, notes.size(), 8);
  for (const auto& [key, value] : notes) {
    put_text(text, key);
    std::visit(ValueWriter{text}, value);
  }
  std::set<std::string> names;
  std::uint64_t offset = 0;
  for (const GgufEntry& tensor : tensors) {
    if (tensor.shape.size() > kMostAxes || !names.insert(tensor.name).second) {
      throw Error(ErrorKind::invalid_argument,
                  path + ": cannot write tensor " + printable(tensor.name) + " " +
                      to_string(tensor.shape) + ": GGUF has each name once and four axes at most");
    }
    put_text(text, tensor.name);
    put(text, tensor.shape.size(), 4);
    for (std::size_t axis = tensor.shape.size(); axis-- > 0;)
      put(text, static_cast<std::uint64_t>(tensor.shape[axis]), 8);
    put(text, tensor.type->id, 4);
    put(text, offset, 8);
    offset += tensor.stored_bytes();
  }
  text.resize(rounded_up(text.size()));
  return text;
}

}  // namespace ernie_image
