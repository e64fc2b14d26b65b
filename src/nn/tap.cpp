#include "nn/tap.h"

#include <cstring>

namespace ernie_image {
namespace {

/// [A, B, unit bytes] to [B, A, unit bytes], on the host.
Tensor swap_axes(const Tensor& host, std::int64_t a, std::int64_t b, Shape shape) {
  Tensor swapped = Tensor::host(host.dtype(), std::move(shape));
  const std::size_t unit = host.size_bytes() / static_cast<std::size_t>(a * b);
  for (std::int64_t i = 0; i < a; ++i) {
    for (std::int64_t j = 0; j < b; ++j) {
      std::memcpy(swapped.bytes() + unit * static_cast<std::size_t>(j * a + i),
                  host.bytes() + unit * static_cast<std::size_t>(i * b + j), unit);
    }
  }
  return swapped;
}

}  // namespace

void Tap::operator()(const std::string& name, const Tensor& tensor) const {
  if (wants(name)) record_tensor(*trace_, prefix_ + name, ops_.download(tensor));
}

void Tap::host(const std::string& name, const Tensor& tensor) const {
  if (wants(name)) record_tensor(*trace_, prefix_ + name, tensor);
}

void Tap::sequence_first(const std::string& name, const Tensor& tensor) const {
  if (!wants(name)) return;
  const std::int64_t rows = tensor.dim(0);
  const std::int64_t tokens = tensor.dim(1);
  record_tensor(*trace_, prefix_ + name,
                swap_axes(ops_.download(tensor), rows, tokens, {tokens, rows, tensor.dim(2)}));
}

void Tap::channels_first(const std::string& name, const Tensor& tensor) const {
  if (!wants(name)) return;
  const std::int64_t height = tensor.dim(1);
  const std::int64_t width = tensor.dim(2);
  const Tensor pixels = tensor.reshaped({tensor.dim(0), height * width, tensor.dim(3)});
  const Tensor planes = ops_.download(ops_.transpose_rows(pixels));
  record_tensor(*trace_, prefix_ + name,
                planes.reshaped({tensor.dim(0), tensor.dim(3), height, width}));
}

}  // namespace ernie_image
