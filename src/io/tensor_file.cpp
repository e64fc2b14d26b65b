#include "io/tensor_file.h"

#include <cstdint>
#include <cstring>

#include "ernie_image/error.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/placeholder.h"
#include "io/safetensors.h"

namespace ernie_image {
namespace {

/// What torch.save writes: a ZIP archive, formerly a bare pickle of protocol 2 to 5.
bool is_pickle(std::string_view text) {
  if (text.starts_with(std::string_view("PK\3\4", 4))) return true;
  return text.size() > 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5 &&
         (text[2] == '\x8a' || text[2] == '}' || text[2] == 'c' || text[2] == ']' ||
          text[2] == '\x95');
}

[[noreturn]] void throw_pickle(const std::string& path) {
  throw Error(ErrorKind::unsupported,
              path +
                  ": is a pickle (what torch.save writes: .ckpt, .pt, .bin), which can run any "
                  "program when it is opened, so it is not; convert it to safetensors where you "
                  "trust it, or download the safetensors file");
}

}  // namespace

std::shared_ptr<const TensorFile> TensorFile::open(const std::string& path) {
  const FileView file = open_file(path);
  reject_placeholder(file);
  if (is_pickle(file.text())) throw_pickle(path);
  if (file.text().starts_with("GGUF")) return std::make_shared<GgufFile>(GgufFile::open(path));
  return std::make_shared<SafetensorsFile>(SafetensorsFile::open(path));
}

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> names;
  names.reserve(weights_.size());
  for (const auto& [name, weight] : weights_) names.push_back(name);
  return names;
}

bool TensorFile::contains(std::string_view name) const { return weights_.contains(name); }

const Weight& TensorFile::stored(const std::string& name) const {
  const auto found = weights_.find(name);
  if (found == weights_.end()) {
    throw Error(ErrorKind::not_found, path() + ": has no tensor " + printable(name));
  }
  return found->second;
}

Weight TensorFile::weight(const std::string& name) const {
  Weight weight = stored(name);
  if (weight.format == WeightFormat::encoded) return weight;
  const auto address = reinterpret_cast<std::uintptr_t>(weight.data);
  if (address % size_of(weight.dtype) != 0) {
    const Tensor copy = tensor(name);
    weight.data = copy.bytes();
    weight.owner = std::make_shared<Tensor>(copy);
  }
  return weight;
}

Tensor TensorFile::tensor(const std::string& name) const {
  const Weight& weight = stored(name);
  const bool plain = weight.format == WeightFormat::plain && bits_of(weight.dtype) >= 8;
  Tensor tensor = plain ? Tensor::host(weight.dtype, weight.shape)
                        : Tensor::host(DType::u8, {static_cast<std::int64_t>(weight.size_bytes())});
  std::memcpy(tensor.bytes(), weight.data, weight.size_bytes());
  return tensor;
}

}  // namespace ernie_image
