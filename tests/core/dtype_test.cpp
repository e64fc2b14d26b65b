#include "core/dtype.h"

#include <gtest/gtest.h>

#include <utility>

namespace ernie_image {
namespace {

TEST(DType, NamesAndSizesAreThoseOfSafetensors) {
  const std::pair<DType, std::pair<const char*, std::size_t>> expected[] = {
      {DType::f64, {"F64", 8}},
      {DType::f32, {"F32", 4}},
      {DType::f16, {"F16", 2}},
      {DType::bf16, {"BF16", 2}},
      {DType::f8_e4m3, {"F8_E4M3", 1}},
      {DType::f8_e5m2, {"F8_E5M2", 1}},
      {DType::i64, {"I64", 8}},
      {DType::i32, {"I32", 4}},
      {DType::i16, {"I16", 2}},
      {DType::i8, {"I8", 1}},
      {DType::u64, {"U64", 8}},
      {DType::u32, {"U32", 4}},
      {DType::u16, {"U16", 2}},
      {DType::u8, {"U8", 1}},
      {DType::boolean, {"BOOL", 1}},
      {DType::c64, {"C64", 8}},
      {DType::f8_e4m3fnuz, {"F8_E4M3FNUZ", 1}},
      {DType::f8_e5m2fnuz, {"F8_E5M2FNUZ", 1}},
      {DType::f8_e8m0, {"F8_E8M0", 1}},
      {DType::f6_e2m3, {"F6_E2M3", 1}},
      {DType::f6_e3m2, {"F6_E3M2", 1}},
      {DType::f4, {"F4", 1}},
  };
  for (const auto& [dtype, name_and_size] : expected) {
    EXPECT_EQ(dtype_name(dtype), name_and_size.first);
    EXPECT_EQ(size_of(dtype), name_and_size.second) << name_and_size.first;
    EXPECT_EQ(dtype_from_name(name_and_size.first), dtype);
  }
}

TEST(DType, UnknownNamesAreNothing) {
  EXPECT_FALSE(dtype_from_name("F33").has_value());
  EXPECT_FALSE(dtype_from_name("f32").has_value());
  EXPECT_FALSE(dtype_from_name("").has_value());
}

}  // namespace
}  // namespace ernie_image
