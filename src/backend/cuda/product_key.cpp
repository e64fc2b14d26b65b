#include "backend/cuda/product_key.h"

#include "backend/cuda/products.h"

namespace ernie_image::cuda {

int address_alignment(const void* address) {
  int alignment = 256;
  while (reinterpret_cast<std::uintptr_t>(address) % static_cast<unsigned>(alignment) != 0)
    alignment /= 2;
  return alignment;
}

ProductKey product_key(const Matrix& x, const Matrix& w, const Matrix& y) {
  return {x.rows,
          w.rows,
          x.columns,
          x.stride,
          w.stride,
          y.stride,
          x.dtype,
          w.dtype,
          y.dtype,
          address_alignment(x.data),
          address_alignment(w.data),
          address_alignment(y.data)};
}

bool is_worth_timing(const ProductKey& key) {
  constexpr double kLeastProducts = 1e9;  // some microseconds on the cards this is for
  return static_cast<double>(key.rows) * static_cast<double>(key.columns) *
             static_cast<double>(key.depth) >=
         kLeastProducts;
}

std::string to_string(const ProductKey& key) {
  const std::string depth = std::to_string(key.depth);
  return std::string(dtype_name(key.x)) + " [" + std::to_string(key.rows) + ", " + depth + "] x " +
         std::string(dtype_name(key.w)) + " [" + std::to_string(key.columns) + ", " + depth +
         "] -> " + std::string(dtype_name(key.y));
}

Matrix matrix_of(const Tensor& tensor) {
  const std::int64_t columns = tensor.dim(-1);
  return {tensor.dtype(), tensor.bytes(), columns == 0 ? 0 : tensor.size() / columns, columns,
          columns};
}

}  // namespace ernie_image::cuda
