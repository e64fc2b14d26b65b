// What a plan for a matrix product depends on.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/dtype.h"

namespace ernie_image::cuda {

struct Matrix;

struct ProductKey {
  std::int64_t rows = 0, columns = 0, depth = 0;
  std::int64_t x_stride = 0, w_stride = 0, y_stride = 0;
  DType x = DType::f32, w = DType::f32, y = DType::f32;
  /// Powers of two that the addresses are multiples of: plans lean on them.
  int x_alignment = 1, w_alignment = 1, y_alignment = 1;

  auto operator<=>(const ProductKey&) const = default;
};

ProductKey product_key(const Matrix& x, const Matrix& w, const Matrix& y);

/// The largest power of two up to 256 that divides the address.
int address_alignment(const void* address);

/// Whether trying several plans for the shape costs little beside using the best of them.
bool is_worth_timing(const ProductKey& key);

/// "BF16 [4128, 4096] x [12288, 4096] -> BF16"
std::string to_string(const ProductKey& key);

}  // namespace ernie_image::cuda
