#include "io/safetensors.h"

#include <cstdint>
#include <cstring>
#include <utility>

#include "ernie_image/error.h"
#include "io/json.h"
#include "io/packed_tensors.h"
#include "io/placeholder.h"
#include "io/safetensors_header.h"

namespace ernie_image {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

[[noreturn]] void throw_corrupt(const FileView& file, const std::string& problem) {
  throw Error(ErrorKind::corrupt_file, file.path + ": " + problem);
}

/// The first eight bytes, little-endian on every machine.
std::uint64_t header_length(const FileView& file) {
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::to_integer<std::uint64_t>(file.bytes[i]) << (8 * i);
  }
  return length;
}

std::string_view find_header(const FileView& file) {
  reject_placeholder(file);
  const std::uint64_t size = file.bytes.size();
  if (size < kLengthBytes) {
    throw_corrupt(
        file, "only " + std::to_string(size) + " bytes, not a safetensors file; download it again");
  }
  const std::uint64_t length = header_length(file);
  if (length > kMaxHeaderBytes) {
    throw_corrupt(file, "header of " + std::to_string(length) +
                            " bytes (at most 100000000 are allowed): not a safetensors file");
  }
  if (length > size - kLengthBytes) {
    throw_corrupt(file, "cut short within the header: expected at least " +
                            std::to_string(kLengthBytes + length) + " bytes, found " +
                            std::to_string(size) + "; download it again");
  }
  return file.text().substr(kLengthBytes, length);
}

void check_file_size(const FileView& file, std::uint64_t expected) {
  const std::uint64_t found = file.bytes.size();
  if (found == expected) return;
  throw_corrupt(file, std::string(found < expected ? "cut short" : "bytes after the last tensor") +
                          ": expected " + std::to_string(expected) + " bytes, found " +
                          std::to_string(found) + "; download it again");
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  SafetensorsFile result;
  result.file_ = open_file(path);
  result.header_ = find_header(result.file_);
  SafetensorsHeader header = parse_safetensors_header(result.header_, path);
  const std::size_t data_begin = kLengthBytes + result.header_.size();
  check_file_size(result.file_, data_begin + header.data_bytes);
  const std::byte* data = result.file_.bytes.data() + data_begin;
  for (auto& [name, entry] : header.tensors) {
    result.weights_.emplace(name, Weight{name, entry.dtype, std::move(entry.shape),
                                         data + entry.begin, result.file_.owner});
  }
  result.metadata_ = std::move(header.metadata);
  apply_packed_metadata(path, result.metadata_, result.weights_);
  return result;
}

}  // namespace ernie_image
