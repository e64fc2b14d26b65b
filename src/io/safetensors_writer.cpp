#include <algorithm>
#include <cstdint>

#include "ernie_image/error.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace ernie_image {
namespace {

using Tensors = std::vector<std::pair<std::string, Tensor>>;

nlohmann::ordered_json header_json(const Tensors& tensors,
                                   const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t begin = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::uint64_t end = begin + tensor.size_bytes();
    header[name] = {{"dtype", dtype_name(tensor.dtype())},
                    {"shape", tensor.shape()},
                    {"data_offsets", {begin, end}}};
    begin = end;
  }
  return header;
}

void check_names(const std::string& path, const Tensors& tensors) {
  std::vector<std::string> names = {"__metadata__"};
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    throw Error(ErrorKind::invalid_argument,
                path + ": cannot write a second tensor named " + printable(*twice));
  }
}

/// Padded with spaces so that the data begins at a multiple of 8, as the format asks for.
std::string header_text(const std::string& path, const Tensors& tensors,
                        const std::map<std::string, std::string>& metadata) {
  try {
    std::string text = header_json(tensors, metadata).dump();
    text.append((8 - text.size() % 8) % 8, ' ');
    return text;
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorKind::invalid_argument,
                path + ": a name or note to write is not UTF-8: " + error.what());
  }
}

}  // namespace

void write_safetensors(const std::string& path, const Tensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  check_names(path, tensors);
  Tensors ordered = tensors;
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return size_of(a.second.dtype()) > size_of(b.second.dtype());
  });
  const std::string header = header_text(path, ordered, metadata);
  std::string length;
  for (int shift = 0; shift < 64; shift += 8) length += static_cast<char>(header.size() >> shift);

  write_file_atomically(path, [&](const auto& append) {
    append(std::as_bytes(std::span(length)));
    append(std::as_bytes(std::span(header)));
    for (const auto& [name, tensor] : ordered) append({tensor.bytes(), tensor.size_bytes()});
  });
}

}  // namespace ernie_image
