#include "io/gguf_encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>

#include "core/half.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

using Bytes = std::uint8_t*;
using Values = std::span<const float>;

void put_u16(Bytes at, std::uint16_t bits) {
  at[0] = static_cast<std::uint8_t>(bits & 0xff);
  at[1] = static_cast<std::uint8_t>(bits >> 8);
}

/// A scale, as blocks hold it.
void put_half(Bytes at, float value) {
  if (!(std::abs(value) < 65520.0f)) {
    throw Error(ErrorKind::invalid_argument,
                "a weight is not finite, or too large for the scale of its block");
  }
  put_u16(at, float_to_f16(value));
}

float inverse(float scale) { return scale == 0 ? 0.0f : 1.0f / scale; }

int clamped(float value, int low, int high) {
  return std::clamp(static_cast<int>(std::clamp(value, -1e6f, 1e6f)), low, high);
}

float largest_magnitude(Values x) {
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  return largest;
}

/// With its sign; the first of several.
float farthest_from_zero(Values x) {
  return *std::ranges::max_element(x, [](float a, float b) { return std::abs(a) < std::abs(b); });
}

// ---- 32 weights, as the gguf package rounds them
// --------------------------------------------------

/// Half away from zero, of a scale that is not rounded itself.
void encode_q8_0(Values x, Bytes b) {
  const float d = largest_magnitude(x) / 127.0f;
  const float id = inverse(d);
  put_half(b, d);
  for (std::size_t i = 0; i < 32; ++i)
    b[2 + i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(std::round(x[i] * id)));
}

/// The value farthest from zero becomes the lowest code, `-levels`.
int signed_code(float value, float id, int levels) {
  return clamped(std::trunc(value * id + (static_cast<float>(levels) + 0.5f)), 0, 2 * levels - 1);
}

void encode_q4_0(Values x, Bytes b) {
  const float d = farthest_from_zero(x) / -8.0f;
  const float id = inverse(d);
  put_half(b, d);
  for (std::size_t i = 0; i < 16; ++i) {
    b[2 + i] =
        static_cast<std::uint8_t>(signed_code(x[i], id, 8) | signed_code(x[16 + i], id, 8) << 4);
  }
}

int offset_code(float value, float least, float id, int largest) {
  return clamped(std::trunc((value - least) * id + 0.5f), 0, largest);
}

void encode_q4_1(Values x, Bytes b) {
  const auto [least, most] = std::ranges::minmax(x);
  const float d = (most - least) / 15.0f;
  const float id = inverse(d);
  put_half(b, d);
  put_half(b + 2, least);
  for (std::size_t i = 0; i < 16; ++i) {
    b[4 + i] = static_cast<std::uint8_t>(offset_code(x[i], least, id, 15) |
                                         offset_code(x[16 + i], least, id, 15) << 4);
  }
}

/// Codes of five bits: four of each in 16 bytes at `low`, the fifth ones in the four at `high`.
void put_five_bits(const std::array<int, 32>& codes, Bytes high, Bytes low) {
  std::uint32_t fifth = 0;
  for (std::size_t i = 0; i < 32; ++i) fifth |= static_cast<std::uint32_t>(codes[i] >> 4) << i;
  for (std::size_t i = 0; i < 4; ++i) high[i] = static_cast<std::uint8_t>(fifth >> (8 * i));
  for (std::size_t i = 0; i < 16; ++i)
    low[i] = static_cast<std::uint8_t>((codes[i] & 15) | (codes[16 + i] & 15) << 4);
}

void encode_q5_0(Values x, Bytes b) {
  const float d = farthest_from_zero(x) / -16.0f;
  const float id = inverse(d);
  put_half(b, d);
  std::array<int, 32> codes;
  for (std::size_t i = 0; i < 32; ++i) codes[i] = signed_code(x[i], id, 16);
  put_five_bits(codes, b + 2, b + 6);
}

void encode_q5_1(Values x, Bytes b) {
  const auto [least, most] = std::ranges::minmax(x);
  const float d = (most - least) / 31.0f;
  const float id = inverse(d);
  put_half(b, d);
  put_half(b + 2, least);
  std::array<int, 32> codes;
  for (std::size_t i = 0; i < 32; ++i) codes[i] = offset_code(x[i], least, id, 31);
  put_five_bits(codes, b + 4, b + 8);
}

// ---- searched
// -------------------------------------------------------------------------------------

/// The error of scale * code against x is least, given the codes, with scale = sum_xq / sum_qq, and
/// is then sum_xx - gain.
struct Fit {
  double sum_xq = 0, sum_qq = 0;
  void add(float x, float q) {
    sum_xq += static_cast<double>(x) * q;
    sum_qq += static_cast<double>(q) * q;
  }
  double gain() const { return sum_qq > 0 ? sum_xq * sum_xq / sum_qq : 0; }
  float scale() const { return sum_qq > 0 ? static_cast<float>(sum_xq / sum_qq) : 0.0f; }
};

/// The scale under which x, coded by `code` (a number of the code's grid for x / scale), comes
/// closest: the best of those near `first`, each fitted to its codes.
template <class Code>
float search_scale(Values x, float first, const Code& code) {
  if (first == 0) return 0;
  Fit best;
  for (int step = -9; step <= 9; ++step) {
    const float id = (1.0f + 0.02f * static_cast<float>(step)) / first;
    Fit fit;
    for (const float value : x) fit.add(value, code(value * id));
    if (fit.gain() > best.gain()) best = fit;
  }
  return best.scale();
}

std::size_t nearest_level(float value) {
  const auto at = std::ranges::lower_bound(
      kIq4Levels, value, {}, [](std::int8_t level) { return static_cast<float>(level); });
  if (at == kIq4Levels.begin()) return 0;
  if (at == kIq4Levels.end()) return kIq4Levels.size() - 1;
  const bool below = value - static_cast<float>(at[-1]) < static_cast<float>(at[0]) - value;
  return static_cast<std::size_t>(at - kIq4Levels.begin()) - (below ? 1 : 0);
}

void encode_iq4_nl(Values x, Bytes b) {
  const float d = search_scale(x, farthest_from_zero(x) / -127.0f, [](float value) {
    return static_cast<float>(kIq4Levels[nearest_level(value)]);
  });
  put_half(b, d);
  const float id = inverse(f16_to_float(float_to_f16(d)));
  for (std::size_t i = 0; i < 16; ++i) {
    b[2 + i] =
        static_cast<std::uint8_t>(nearest_level(x[i] * id) | nearest_level(x[16 + i] * id) << 4);
  }
}

/// scale * code - offset, codes from 0 to `largest`, offset >= 0.
struct Affine {
  float scale = 0, offset = 0;
};

/// The nearest code, as a number. `inverse_scale` is that of `affine`.
float affine_code(float value, const Affine& affine, float inverse_scale, float largest) {
  const float code = std::clamp((value + affine.offset) * inverse_scale, 0.0f, largest);
  return static_cast<float>(static_cast<int>(code + 0.5f));
}

float affine_error(Values x, const Affine& affine, float largest) {
  const float inverse_scale = inverse(affine.scale);
  float error = 0;
  for (const float value : x) {
    const float code = affine_code(value, affine, inverse_scale, largest);
    const float off = value + affine.offset - affine.scale * code;
    error += off * off;
  }
  return error;
}

/// Least squares for the codes that `affine` gives.
Affine refitted(Values x, const Affine& affine, float largest) {
  const float inverse_scale = inverse(affine.scale);
  float sum_q = 0, sum_qq = 0, sum_x = 0, sum_xq = 0;
  for (const float value : x) {
    const float q = affine_code(value, affine, inverse_scale, largest);
    sum_q += q;
    sum_qq += q * q;
    sum_x += value;
    sum_xq += q * value;
  }
  const auto n = static_cast<float>(x.size());
  const float determinant = n * sum_qq - sum_q * sum_q;
  if (determinant <= 0) return affine;
  const float scale = (n * sum_xq - sum_q * sum_x) / determinant;
  const float offset = (sum_q * scale - sum_x) / n;
  if (scale <= 0) return affine;
  if (offset >= 0) return {scale, offset};
  return {sum_qq > 0 ? std::max(0.0f, sum_xq / sum_qq) : 0.0f, 0.0f};
}

Affine search_affine(Values x, float largest) {
  const auto [smallest, most] = std::ranges::minmax(x);
  const float least = std::min(0.0f, smallest);
  if (most <= least) return {0.0f, -least};
  Affine best{(most - least) / largest, -least};
  float best_error = affine_error(x, best, largest);
  for (int step = -10; step <= 10; ++step) {
    const float levels = largest + 0.1f * static_cast<float>(step);
    const Affine tried = refitted(x, {(most - least) / levels, -least}, largest);
    const float error = affine_error(x, tried, largest);
    if (error >= best_error) continue;
    best_error = error;
    best = tried;
  }
  return best;
}

/// Six bits each for scales and offsets of eight sub-blocks, in 12 bytes.
void put_k_scales(const std::array<int, 8>& scales, const std::array<int, 8>& offsets, Bytes s) {
  for (std::size_t j = 0; j < 4; ++j) {
    s[j] = static_cast<std::uint8_t>(scales[j] | (scales[j + 4] >> 4) << 6);
    s[j + 4] = static_cast<std::uint8_t>(offsets[j] | (offsets[j + 4] >> 4) << 6);
    s[j + 8] = static_cast<std::uint8_t>((scales[j + 4] & 15) | (offsets[j + 4] & 15) << 4);
  }
}

using Codes = std::array<std::uint8_t, 256>;

/// Q4_K and Q5_K up to their codes: writes d, m and the 12 bytes of scales at `b`.
Codes encode_affine_super_block(Values x, float largest, Bytes b) {
  std::array<Affine, 8> blocks;
  float most_scale = 0, most_offset = 0;
  for (std::size_t j = 0; j < 8; ++j) {
    blocks[j] = search_affine(x.subspan(32 * j, 32), largest);
    most_scale = std::max(most_scale, blocks[j].scale);
    most_offset = std::max(most_offset, blocks[j].offset);
  }
  put_half(b, most_scale / 63.0f);
  put_half(b + 2, most_offset / 63.0f);
  const float d = f16_to_float(float_to_f16(most_scale / 63.0f));
  const float m = f16_to_float(float_to_f16(most_offset / 63.0f));
  std::array<int, 8> scales{}, offsets{};
  Codes codes;
  for (std::size_t j = 0; j < 8; ++j) {
    const Values part = x.subspan(32 * j, 32);
    const int scale = clamped(std::nearbyint(blocks[j].scale * inverse(d)), 0, 63);
    const int offset = clamped(std::nearbyint(blocks[j].offset * inverse(m)), 0, 63);
    float best_error = std::numeric_limits<float>::infinity();
    Affine best;
    // What was rounded away from one may be made good by the other.
    for (int s = std::max(0, scale - 1); s <= std::min(63, scale + 1); ++s) {
      for (int o = std::max(0, offset - 1); o <= std::min(63, offset + 1); ++o) {
        const Affine tried{d * static_cast<float>(s), m * static_cast<float>(o)};
        const float error = affine_error(part, tried, largest);
        if (error >= best_error) continue;
        best_error = error;
        best = tried;
        scales[j] = s;
        offsets[j] = o;
      }
    }
    const float inverse_scale = inverse(best.scale);
    for (std::size_t i = 0; i < 32; ++i) {
      codes[32 * j + i] =
          static_cast<std::uint8_t>(affine_code(part[i], best, inverse_scale, largest));
    }
  }
  put_k_scales(scales, offsets, b + 4);
  return codes;
}

/// Low nibbles of 32 codes and those of the next 32 share bytes.
void put_nibbles(const Codes& codes, Bytes q) {
  for (std::size_t j = 0; j < 4; ++j) {
    for (std::size_t i = 0; i < 32; ++i) {
      q[32 * j + i] =
          static_cast<std::uint8_t>((codes[64 * j + i] & 15) | (codes[64 * j + 32 + i] & 15) << 4);
    }
  }
}

void encode_q4_k(Values x, Bytes b) { put_nibbles(encode_affine_super_block(x, 15.0f, b), b + 16); }

void encode_q5_k(Values x, Bytes b) {
  const Codes codes = encode_affine_super_block(x, 31.0f, b);
  for (std::size_t i = 0; i < 32; ++i) {
    int fifth = 0;
    for (std::size_t j = 0; j < 8; ++j) fifth |= (codes[32 * j + i] >> 4) << j;
    b[16 + i] = static_cast<std::uint8_t>(fifth);
  }
  put_nibbles(codes, b + 48);
}

void encode_q6_k(Values x, Bytes b) {
  std::array<float, 16> scales{};
  for (std::size_t k = 0; k < 16; ++k) {
    const Values part = x.subspan(16 * k, 16);
    scales[k] = search_scale(part, farthest_from_zero(part) / -32.0f, [](float value) {
      return std::clamp(std::nearbyint(value), -32.0f, 31.0f);
    });
  }
  const float d = farthest_from_zero(scales) / -128.0f;
  put_half(b + 208, d);
  const float stored = f16_to_float(float_to_f16(d));
  Codes codes;
  for (std::size_t k = 0; k < 16; ++k) {
    const int scale = clamped(std::nearbyint(scales[k] * inverse(stored)), -128, 127);
    b[192 + k] = static_cast<std::uint8_t>(static_cast<std::int8_t>(scale));
    const float id = inverse(stored * static_cast<float>(scale));
    for (std::size_t i = 0; i < 16; ++i) {
      codes[16 * k + i] =
          static_cast<std::uint8_t>(clamped(std::nearbyint(x[16 * k + i] * id), -32, 31) + 32);
    }
  }
  for (std::size_t upper = 0; upper < 2; ++upper) {
    const std::uint8_t* code = codes.data() + 128 * upper;
    for (std::size_t i = 0; i < 32; ++i) {
      b[64 * upper + i] = static_cast<std::uint8_t>((code[i] & 15) | (code[64 + i] & 15) << 4);
      b[64 * upper + 32 + i] =
          static_cast<std::uint8_t>((code[32 + i] & 15) | (code[96 + i] & 15) << 4);
      b[128 + 32 * upper + i] =
          static_cast<std::uint8_t>(code[i] >> 4 | (code[32 + i] >> 4) << 2 |
                                    (code[64 + i] >> 4) << 4 | (code[96 + i] >> 4) << 6);
    }
  }
}

// ---- numbers
// --------------------------------------------------------------------------------------

void encode_f32(Values x, Bytes b) { std::memcpy(b, x.data(), sizeof(float)); }
void encode_bf16(Values x, Bytes b) { put_u16(b, float_to_bf16(x[0])); }
void encode_f16(Values x, Bytes b) {
  if (std::abs(x[0]) >= 65520.0f) {
    throw Error(ErrorKind::invalid_argument, "a weight is too large for F16; take BF16 or F32");
  }
  put_u16(b, float_to_f16(x[0]));
}

struct Encoder {
  std::string_view type;
  void (*encode)(Values block, Bytes target);
};

constexpr std::array kEncoders = {
    Encoder{"F32", encode_f32},   Encoder{"F16", encode_f16},   Encoder{"BF16", encode_bf16},
    Encoder{"Q8_0", encode_q8_0}, Encoder{"Q4_0", encode_q4_0}, Encoder{"Q4_1", encode_q4_1},
    Encoder{"Q5_0", encode_q5_0}, Encoder{"Q5_1", encode_q5_1}, Encoder{"IQ4_NL", encode_iq4_nl},
    Encoder{"Q4_K", encode_q4_k}, Encoder{"Q5_K", encode_q5_k}, Encoder{"Q6_K", encode_q6_k}};

const Encoder* encoder_of(const GgufType& type) {
  const auto found = std::ranges::find(kEncoders, type.name, &Encoder::type);
  return found == kEncoders.end() ? nullptr : &*found;
}

}  // namespace

bool can_encode(const GgufType& type) { return encoder_of(type) != nullptr; }

void encode_gguf(const GgufType& type, const float* values, std::int64_t count, std::byte* target) {
  const Encoder& encoder = *encoder_of(type);
  const auto width = static_cast<std::size_t>(type.weights);
  const auto all = Values(values, static_cast<std::size_t>(count));
  if (!std::ranges::all_of(all, [](float value) { return std::isfinite(value); }))
    throw Error(ErrorKind::invalid_argument, "a weight is not finite");
  auto* at = reinterpret_cast<Bytes>(target);
  for (std::size_t begin = 0; begin < all.size(); begin += width, at += type.bytes)
    encoder.encode(all.subspan(begin, width), at);
}

}  // namespace ernie_image
