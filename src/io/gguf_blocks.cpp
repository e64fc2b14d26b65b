#include "io/gguf_blocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>

#include "core/half.h"
#include "io/small_floats.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kSuperBlock = 256;

using Byte = const std::uint8_t*;

Byte bytes_of(const std::byte* block) { return reinterpret_cast<Byte>(block); }

std::uint16_t u16(Byte at) { return static_cast<std::uint16_t>(at[0] | at[1] << 8); }

std::uint32_t u32(Byte at) { return std::uint32_t{u16(at)} | std::uint32_t{u16(at + 2)} << 16; }

float half(Byte at) { return f16_to_float(u16(at)); }

float number(int value) { return static_cast<float>(value); }

// ---- 32 weights, low nibbles first
// ---------------------------------------------------------------

void decode_q4_0(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float d = half(b);
  for (int i = 0; i < 16; ++i) {
    target[i] = d * number((b[2 + i] & 15) - 8);
    target[16 + i] = d * number((b[2 + i] >> 4) - 8);
  }
}

void decode_q4_1(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float d = half(b), m = half(b + 2);
  for (int i = 0; i < 16; ++i) {
    target[i] = d * number(b[4 + i] & 15) + m;
    target[16 + i] = d * number(b[4 + i] >> 4) + m;
  }
}

/// The fifth bits are those of `high`.
void decode_q5_0(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float d = half(b);
  const std::uint32_t high = u32(b + 2);
  for (int i = 0; i < 16; ++i) {
    const int low = (b[6 + i] & 15) | static_cast<int>(high >> i & 1) << 4;
    const int upper = (b[6 + i] >> 4) | static_cast<int>(high >> (i + 16) & 1) << 4;
    target[i] = d * number(low - 16);
    target[16 + i] = d * number(upper - 16);
  }
}

void decode_q5_1(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float d = half(b), m = half(b + 2);
  const std::uint32_t high = u32(b + 4);
  for (int i = 0; i < 16; ++i) {
    const int low = (b[8 + i] & 15) | static_cast<int>(high >> i & 1) << 4;
    const int upper = (b[8 + i] >> 4) | static_cast<int>(high >> (i + 16) & 1) << 4;
    target[i] = d * number(low) + m;
    target[16 + i] = d * number(upper) + m;
  }
}

void decode_q8_0(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float d = half(b);
  for (int i = 0; i < 32; ++i) target[i] = d * number(static_cast<std::int8_t>(b[2 + i]));
}

void decode_iq4_nl(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float d = half(b);
  for (int i = 0; i < 16; ++i) {
    target[i] = d * number(kIq4Levels[b[2 + i] & 15]);
    target[16 + i] = d * number(kIq4Levels[b[2 + i] >> 4]);
  }
}

void decode_mxfp4(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float scale = e8m0_to_float(b[0]);
  for (int i = 0; i < 16; ++i) {
    target[i] = scale * kE2m1[b[1 + i] & 15];
    target[16 + i] = scale * kE2m1[b[1 + i] >> 4];
  }
}

/// Four groups of 16. The scales have no sign, and none is infinite.
void decode_nvfp4(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  for (int group = 0; group < 4; ++group) {
    const std::uint8_t code = b[group] & 0x7f;
    const float scale = code == 0x7f ? 0.0f : e4m3_to_float(code);
    const Byte q = b + 4 + 8 * group;
    for (int i = 0; i < 8; ++i) {
      target[16 * group + i] = scale * kE2m1[q[i] & 15];
      target[16 * group + 8 + i] = scale * kE2m1[q[i] >> 4];
    }
  }
}

// ---- 256 weights
// ---------------------------------------------------------------------------------

void decode_iq4_xs(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float d = half(b);
  const std::uint16_t high = u16(b + 2);
  for (int j = 0; j < 8; ++j) {
    const int low = b[4 + j / 2] >> (4 * (j % 2)) & 15;
    const float scale = d * number((low | (high >> (2 * j) & 3) << 4) - 32);
    const Byte q = b + 8 + 16 * j;
    for (int i = 0; i < 16; ++i) {
      target[32 * j + i] = scale * number(kIq4Levels[q[i] & 15]);
      target[32 * j + 16 + i] = scale * number(kIq4Levels[q[i] >> 4]);
    }
  }
}

void decode_q2_k(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float d = half(b + 80), m = half(b + 82);
  for (int k = 0; k < 16; ++k) {
    const int shift = 2 * (k / 2 % 4);
    const Byte q = b + 16 + 32 * (k / 8) + 16 * (k % 2);
    const float scale = d * number(b[k] & 15), offset = m * number(b[k] >> 4);
    for (int i = 0; i < 16; ++i) target[16 * k + i] = scale * number(q[i] >> shift & 3) - offset;
  }
}

void decode_q3_k(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const Byte s = b + 96;
  const float d = half(b + 108);
  for (int k = 0; k < 16; ++k) {
    const int low = (k < 8 ? s[k] : s[k - 8] >> 4) & 15;
    const float scale = d * number((low | (s[8 + k % 4] >> (2 * (k / 4)) & 3) << 4) - 32);
    const int j = k / 2 % 4;
    const int mask = 1 << (4 * (k / 8) + j);
    const Byte high = b + 16 * (k % 2);
    const Byte q = b + 32 + 32 * (k / 8) + 16 * (k % 2);
    for (int i = 0; i < 16; ++i) {
      const int code = (q[i] >> (2 * j) & 3) - ((high[i] & mask) != 0 ? 0 : 4);
      target[16 * k + i] = scale * number(code);
    }
  }
}

struct ScaleAndMin {
  float scale, offset;
};

/// Of sub-block j, six bits each in 12 bytes after the two factors.
ScaleAndMin k_scales(Byte b, int j) {
  const float d = half(b), m = half(b + 2);
  const Byte s = b + 4;
  if (j < 4) return {d * number(s[j] & 63), m * number(s[j + 4] & 63)};
  return {d * number((s[j + 4] & 15) | s[j - 4] >> 6 << 4),
          m * number(s[j + 4] >> 4 | s[j] >> 6 << 4)};
}

void decode_q4_k(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  for (int j = 0; j < 8; ++j) {
    const auto [scale, offset] = k_scales(b, j);
    const Byte q = b + 16 + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i) target[32 * j + i] = scale * number(q[i] >> shift & 15) - offset;
  }
}

void decode_q5_k(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const Byte high = b + 16;
  for (int j = 0; j < 8; ++j) {
    const auto [scale, offset] = k_scales(b, j);
    const Byte q = b + 48 + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i) {
      const int code = (q[i] >> shift & 15) + (high[i] >> j & 1) * 16;
      target[32 * j + i] = scale * number(code) - offset;
    }
  }
}

void decode_q6_k(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float d = half(b + 208);
  for (int k = 0; k < 16; ++k) {
    const int upper = k / 8, j = k / 2 % 4, t = k % 2;
    const float scale = d * number(static_cast<std::int8_t>(b[192 + k]));
    const Byte low = b + 64 * upper + 32 * (j % 2) + 16 * t;
    const Byte high = b + 128 + 32 * upper + 16 * t;
    const int shift = j >= 2 ? 4 : 0;
    for (int i = 0; i < 16; ++i) {
      const int code = (low[i] >> shift & 15) | (high[i] >> (2 * j) & 3) << 4;
      target[16 * k + i] = scale * number(code - 32);
    }
  }
}

void decode_tq2_0(const std::byte* block, float* target) {
  const Byte b = bytes_of(block);
  const float d = half(b + 64);
  for (int k = 0; k < 8; ++k) {
    const Byte q = b + 32 * (k / 4);
    for (int i = 0; i < 32; ++i) target[32 * k + i] = d * number((q[i] >> (2 * (k % 4)) & 3) - 1);
  }
}

/// Digits of base three, most significant first, as fractions of 256.
void decode_tq1_0(const std::byte* block, float* target) {
  constexpr std::array<std::uint8_t, 5> kPowers = {1, 3, 9, 27, 81};
  const Byte b = bytes_of(block);
  const float d = half(b + 52);
  const auto digits = [&](Byte q, int count, std::size_t powers) {
    for (std::size_t n = 0; n < powers; ++n) {
      for (int i = 0; i < count; ++i) {
        const auto shifted = static_cast<std::uint8_t>(q[i] * kPowers[n]);
        *target++ = d * number((shifted * 3 >> 8) - 1);
      }
    }
  };
  digits(b, 32, 5);
  digits(b + 32, 16, 5);
  digits(b + 48, 4, 4);
}

constexpr GgufType numbers(std::uint32_t id, std::string_view name, DType dtype,
                           std::int64_t bytes) {
  return {id, name, 1, bytes, dtype, nullptr};
}

constexpr std::array kTypes = {
    numbers(0, "F32", DType::f32, 4),
    numbers(1, "F16", DType::f16, 2),
    GgufType{2, "Q4_0", 32, 18, {}, decode_q4_0, BlockFormat::q4_0},
    GgufType{3, "Q4_1", 32, 20, {}, decode_q4_1},
    GgufType{6, "Q5_0", 32, 22, {}, decode_q5_0},
    GgufType{7, "Q5_1", 32, 24, {}, decode_q5_1},
    GgufType{8, "Q8_0", 32, 34, {}, decode_q8_0, BlockFormat::q8_0},
    GgufType{9, "Q8_1", 32, 40, {}, nullptr},
    GgufType{10, "Q2_K", kSuperBlock, 84, {}, decode_q2_k},
    GgufType{11, "Q3_K", kSuperBlock, 110, {}, decode_q3_k},
    GgufType{12, "Q4_K", kSuperBlock, 144, {}, decode_q4_k, BlockFormat::q4_k},
    GgufType{13, "Q5_K", kSuperBlock, 176, {}, decode_q5_k, BlockFormat::q5_k},
    GgufType{14, "Q6_K", kSuperBlock, 210, {}, decode_q6_k, BlockFormat::q6_k},
    GgufType{15, "Q8_K", kSuperBlock, 292, {}, nullptr},
    GgufType{16, "IQ2_XXS", kSuperBlock, 66, {}, nullptr},
    GgufType{17, "IQ2_XS", kSuperBlock, 74, {}, nullptr},
    GgufType{18, "IQ3_XXS", kSuperBlock, 98, {}, nullptr},
    GgufType{19, "IQ1_S", kSuperBlock, 50, {}, nullptr},
    GgufType{20, "IQ4_NL", 32, 18, {}, decode_iq4_nl, BlockFormat::iq4_nl},
    GgufType{21, "IQ3_S", kSuperBlock, 110, {}, nullptr},
    GgufType{22, "IQ2_S", kSuperBlock, 82, {}, nullptr},
    GgufType{23, "IQ4_XS", kSuperBlock, 136, {}, decode_iq4_xs},
    numbers(24, "I8", DType::i8, 1),
    numbers(25, "I16", DType::i16, 2),
    numbers(26, "I32", DType::i32, 4),
    numbers(27, "I64", DType::i64, 8),
    numbers(28, "F64", DType::f64, 8),
    GgufType{29, "IQ1_M", kSuperBlock, 56, {}, nullptr},
    numbers(30, "BF16", DType::bf16, 2),
    GgufType{34, "TQ1_0", kSuperBlock, 54, {}, decode_tq1_0},
    GgufType{35, "TQ2_0", kSuperBlock, 66, {}, decode_tq2_0},
    GgufType{39, "MXFP4", 32, 17, {}, decode_mxfp4},
    GgufType{40, "NVFP4", 64, 36, {}, decode_nvfp4},
    GgufType{41, "Q1_0", 128, 18, {}, nullptr},
};

class GgufDecoder final : public WeightDecoder {
 public:
  GgufDecoder(const GgufType& type, const std::byte* data, std::int64_t elements)
      : type_(type), data_(data), elements_(elements) {}

  std::string_view name() const override { return type_.name; }
  bool is_readable() const override { return type_.decode != nullptr; }
  BlockFormat block_format() const override { return type_.format; }

  const std::byte* block_row(std::int64_t row, std::int64_t columns) const override {
    if (columns % type_.weights != 0) return nullptr;
    assert(row >= 0 && (row + 1) * columns <= elements_);
    return data_ + row * (columns / type_.weights) * type_.bytes;
  }

  void decode(std::int64_t begin, std::int64_t count, float* target) const override {
    assert(begin >= 0 && count >= 0 && begin + count <= elements_);
    const std::int64_t width = type_.weights;
    const std::int64_t end = begin + count;
    while (begin < end) {
      const std::byte* block = data_ + begin / width * type_.bytes;
      const std::int64_t skipped = begin % width;
      const std::int64_t wanted = std::min(width - skipped, end - begin);
      if (wanted == width) {
        type_.decode(block, target);
      } else {
        std::array<float, kSuperBlock> whole;
        type_.decode(block, whole.data());
        std::copy_n(whole.data() + skipped, wanted, target);
      }
      begin += wanted;
      target += wanted;
    }
  }

 private:
  const GgufType& type_;
  const std::byte* data_;
  [[maybe_unused]] std::int64_t elements_;
};

class SwappedDecoder final : public WeightDecoder {
 public:
  SwappedDecoder(DType dtype, const std::byte* data) : dtype_(dtype), data_(data) {}

  std::string_view name() const override { return dtype_name(dtype_); }
  bool is_readable() const override { return dtype_ == DType::f32 || dtype_ == DType::f16; }

  void decode(std::int64_t begin, std::int64_t count, float* target) const override {
    const Byte source = bytes_of(data_) + begin * static_cast<std::int64_t>(size_of(dtype_));
    for (std::int64_t i = 0; i < count; ++i) {
      if (dtype_ == DType::f16) {
        const Byte at = source + 2 * i;
        target[i] = f16_to_float(static_cast<std::uint16_t>(at[0] << 8 | at[1]));
      } else {
        const Byte at = source + 4 * i;
        target[i] = std::bit_cast<float>(std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 |
                                         std::uint32_t{at[2]} << 8 | std::uint32_t{at[3]});
      }
    }
  }

 private:
  DType dtype_;
  const std::byte* data_;
};

}  // namespace

const GgufType* gguf_type(std::uint32_t id) {
  const auto found = std::ranges::find(kTypes, id, &GgufType::id);
  return found == kTypes.end() ? nullptr : &*found;
}

const GgufType* gguf_type(std::string_view name) {
  const auto found = std::ranges::find(kTypes, name, &GgufType::name);
  return found == kTypes.end() ? nullptr : &*found;
}

std::shared_ptr<const WeightDecoder> make_gguf_decoder(const GgufType& type, const std::byte* data,
                                                       std::int64_t elements) {
  assert(!type.dtype);
  return std::make_shared<GgufDecoder>(type, data, elements);
}

std::shared_ptr<const WeightDecoder> make_swapped_decoder(DType dtype, const std::byte* data) {
  return std::make_shared<SwappedDecoder>(dtype, data);
}

}  // namespace ernie_image
