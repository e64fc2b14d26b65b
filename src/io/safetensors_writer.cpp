#include "io/safetensors_writer.h"

#include <algorithm>
#include <cstdint>

#include "ernie_image/error.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace ernie_image {
namespace {

using Tensors = std::vector<std::pair<std::string, Tensor>>;

constexpr std::size_t kHeaderLengthBytes = 8;
constexpr std::size_t kTensorAlignment = 64;  // the format asks for 8, packed weights for 64

nlohmann::ordered_json header_json(const std::vector<TensorEntry>& tensors,
                                   const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t begin = 0;
  for (const TensorEntry& tensor : tensors) {
    const std::uint64_t end = begin + tensor.size_bytes();
    header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {begin, end}}};
    begin = end;
  }
  return header;
}

void check_names(const std::string& path, const std::vector<TensorEntry>& tensors) {
  std::vector<std::string> names = {"__metadata__"};
  for (const TensorEntry& tensor : tensors) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    throw Error(ErrorKind::invalid_argument,
                path + ": cannot write a second tensor named " + printable(*twice));
  }
}

std::string header_text(const std::string& path, const std::vector<TensorEntry>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  try {
    std::string text = header_json(tensors, metadata).dump();
    const std::size_t begin = kHeaderLengthBytes + text.size();
    text.append((kTensorAlignment - begin % kTensorAlignment) % kTensorAlignment, ' ');
    return text;
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorKind::invalid_argument,
                path + ": a name or note to write is not UTF-8: " + error.what());
  }
}

}  // namespace

std::string safetensors_beginning(const std::string& path, const std::vector<TensorEntry>& tensors,
                                  const std::map<std::string, std::string>& metadata) {
  check_names(path, tensors);
  const std::string header = header_text(path, tensors, metadata);
  std::string length;
  for (int shift = 0; shift < 64; shift += 8) length += static_cast<char>(header.size() >> shift);
  return length + header;
}

void write_safetensors(const std::string& path, const Tensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  Tensors ordered = tensors;
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return size_of(a.second.dtype()) > size_of(b.second.dtype());
  });
  std::vector<TensorEntry> entries;
  for (const auto& [name, tensor] : ordered)
    entries.push_back({name, tensor.dtype(), tensor.shape()});
  const std::string beginning = safetensors_beginning(path, entries, metadata);

  write_file_atomically(path, [&](const auto& append) {
    append(std::as_bytes(std::span(beginning)));
    for (const auto& [name, tensor] : ordered) append({tensor.bytes(), tensor.size_bytes()});
  });
}

}  // namespace ernie_image
