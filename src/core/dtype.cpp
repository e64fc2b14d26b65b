#include "core/dtype.h"

#include <array>
#include <utility>

namespace ernie_image {
namespace {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  std::size_t bits;
};

constexpr std::array kDTypes = {
    DTypeInfo{DType::f64, "F64", 64},
    DTypeInfo{DType::f32, "F32", 32},
    DTypeInfo{DType::f16, "F16", 16},
    DTypeInfo{DType::bf16, "BF16", 16},
    DTypeInfo{DType::f8_e4m3, "F8_E4M3", 8},
    DTypeInfo{DType::f8_e5m2, "F8_E5M2", 8},
    DTypeInfo{DType::i64, "I64", 64},
    DTypeInfo{DType::i32, "I32", 32},
    DTypeInfo{DType::i16, "I16", 16},
    DTypeInfo{DType::i8, "I8", 8},
    DTypeInfo{DType::u64, "U64", 64},
    DTypeInfo{DType::u32, "U32", 32},
    DTypeInfo{DType::u16, "U16", 16},
    DTypeInfo{DType::u8, "U8", 8},
    DTypeInfo{DType::boolean, "BOOL", 8},
    DTypeInfo{DType::c64, "C64", 64},
    DTypeInfo{DType::f8_e4m3fnuz, "F8_E4M3FNUZ", 8},
    DTypeInfo{DType::f8_e5m2fnuz, "F8_E5M2FNUZ", 8},
    DTypeInfo{DType::f8_e8m0, "F8_E8M0", 8},
    DTypeInfo{DType::f6_e2m3, "F6_E2M3", 6},
    DTypeInfo{DType::f6_e3m2, "F6_E3M2", 6},
    DTypeInfo{DType::f4, "F4", 4},
};

const DTypeInfo& info(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)]; }

}  // namespace

std::size_t size_of(DType dtype) { return (info(dtype).bits + 7) / 8; }

std::size_t bits_of(DType dtype) { return info(dtype).bits; }

std::size_t storage_bytes(DType dtype, std::size_t count) {
  const std::size_t bits = info(dtype).bits;
  return bits % 8 == 0 ? count * (bits / 8) : (count * bits + 7) / 8;
}

std::string_view dtype_name(DType dtype) { return info(dtype).name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& candidate : kDTypes) {
    if (candidate.name == name) return candidate.dtype;
  }
  return std::nullopt;
}

}  // namespace ernie_image
