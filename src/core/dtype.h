// Element types of tensors, as safetensors files know them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "ernie_image/precision.h"

namespace ernie_image {

enum class DType : std::uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean,
  c64,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f8_e8m0,
  f6_e2m3,
  f6_e3m2,
  f4,
};

/// Bytes of one element; 1 for the types of less than 8 bits, of which `storage_bytes` tells more.
std::size_t size_of(DType dtype);

std::size_t bits_of(DType dtype);

/// Of `count` elements one after another, the last byte filled up.
std::size_t storage_bytes(DType dtype, std::size_t count);

/// Whether weights may have that type and be computed with as they are.
constexpr bool is_weight_number(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

/// The type of tensors between operations.
constexpr DType dtype_of(Precision precision) {
  return precision == Precision::bf16 ? DType::bf16 : DType::f32;
}

/// The reverse: what is not bf16 is computed with as fp32.
constexpr Precision precision_of(DType dtype) {
  return dtype == DType::bf16 ? Precision::bf16 : Precision::fp32;
}

/// The name that safetensors headers use: "F32", "BF16", "BOOL"...
std::string_view dtype_name(DType dtype);

/// The reverse of `dtype_name`; nothing for an unknown name.
std::optional<DType> dtype_from_name(std::string_view name);

}  // namespace ernie_image
