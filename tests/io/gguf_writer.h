// GGUF files made to order, honest or not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image::test {

/// The parts of a file, put together by `bytes`. Every field can be made to lie.
class GgufWriter {
 public:
  explicit GgufWriter(bool big_endian = false) : big_endian_(big_endian) {}

  template <typename T>
  std::string number(T value) const {
    std::string text(sizeof(T), '\0');
    std::copy_n(reinterpret_cast<const char*>(&value), sizeof(T), text.begin());
    if (big_endian_) std::ranges::reverse(text);
    return text;
  }
  std::string string(std::string_view text) const {
    return number<std::uint64_t>(text.size()) + std::string(text);
  }

  void note(std::string_view key, std::uint32_t type, const std::string& value) {
    notes_ += string(key) + number(type) + value;
    ++note_count;
  }
  void text(std::string_view key, std::string_view value) { note(key, 8, string(value)); }
  void integer(std::string_view key, std::uint32_t value) { note(key, 4, number(value)); }
  void integers(std::string_view key, const std::vector<std::int32_t>& values) {
    std::string array = number<std::uint32_t>(5) + number<std::uint64_t>(values.size());
    for (const std::int32_t value : values) array += number(value);
    note(key, 9, array);
  }

  /// `dims` innermost first. `data` is laid at the next multiple of 32, or wherever `offset` says.
  void tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
              const std::string& data, std::int64_t offset = -1) {
    data_.resize((data_.size() + 31) / 32 * 32);
    infos_ += string(name) + number(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) infos_ += number(dim);
    infos_ += number(type) + number(offset < 0 ? static_cast<std::uint64_t>(data_.size())
                                               : static_cast<std::uint64_t>(offset));
    data_ += data;
    ++tensor_count;
  }

  std::string bytes() const {
    std::string file =
        "GGUF" + number(version) + number(tensor_count) + number(note_count) + notes_ + infos_;
    if (data_.empty()) return file;
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data_;
  }

  std::uint32_t version = 3;
  std::uint64_t tensor_count = 0, note_count = 0;
  std::size_t alignment = 32;

 private:
  bool big_endian_;
  std::string notes_, infos_, data_;
};

}  // namespace ernie_image::test
