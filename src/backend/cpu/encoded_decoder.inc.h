// Blocks of encoded weights as codes and scales, for encoded_gemm.inc.h and encoded_vector.inc.h.
#pragma once

#include <immintrin.h>

#include "backend/cpu/encoded_gemm.h"
#include "backend/cpu/gemm.inc.h"
#include "backend/cpu/simd.h"

namespace ernie_image {

/// Codes of 32 outputs, from the blocks of a weight's rows. ggml's layouts are those that
/// io/gguf_blocks.cpp decodes.
template <class V>
struct BlockDecoder {
  using Vec = typename V::Vec;
  using Ints = typename V::Ints;
  using Bytes = const std::byte*;
  static constexpr int kLanes = 16;
  static constexpr int kStepBytes = EncodedKernels::kPanelOutputs * 4;
  static constexpr int kGroupBytes = 8 * kStepBytes;
  static constexpr int kOutputs = EncodedKernels::kPanelOutputs;

  /// Where the codes and scales of 16 outputs go, from one group on.
  struct Target {
    std::byte* codes;
    float* scales;
    float* minima;

    ERNIE_IMAGE_SIMD void put(std::byte* codes, int group, int step, Ints v) {
      _mm512_storeu_si512(codes + group * kGroupBytes + step * kStepBytes, v);
    }
  };

  /// 16 bytes of each of 16 rows: out[i] has bytes 4 i to 4 i + 3, a row a lane.
  ERNIE_IMAGE_SIMD void transposed(Bytes const* rows, std::int64_t offset, Ints (&out)[4]) {
    Ints t[4];
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < 4; ++r) {
      const auto at = [&](int row) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row] + offset));
      };
      Ints v = _mm512_castsi128_si512(at(r));
      v = _mm512_mask_broadcast_i32x4(v, 0x00f0, at(r + 4));
      v = _mm512_mask_broadcast_i32x4(v, 0x0f00, at(r + 8));
      t[r] = _mm512_mask_broadcast_i32x4(v, 0xf000, at(r + 12));
    }
    const Ints a = _mm512_unpacklo_epi32(t[0], t[1]), b = _mm512_unpacklo_epi32(t[2], t[3]);
    const Ints c = _mm512_unpackhi_epi32(t[0], t[1]), d = _mm512_unpackhi_epi32(t[2], t[3]);
    out[0] = _mm512_unpacklo_epi64(a, b);
    out[1] = _mm512_unpackhi_epi64(a, b);
    out[2] = _mm512_unpacklo_epi64(c, d);
    out[3] = _mm512_unpackhi_epi64(c, d);
  }

  /// An f16 of each row.
  ERNIE_IMAGE_SIMD Vec halves(Bytes const* rows, std::int64_t offset) {
    alignas(32) std::uint16_t bits[kLanes];
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kLanes; ++r) __builtin_memcpy(&bits[r], rows[r] + offset, 2);
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(bits)));
  }

  ERNIE_IMAGE_SIMD Ints all(int byte) { return _mm512_set1_epi8(static_cast<char>(byte)); }
  ERNIE_IMAGE_SIMD Ints low(Ints v) { return _mm512_and_si512(v, all(15)); }
  ERNIE_IMAGE_SIMD Ints high(Ints v) { return low(_mm512_srli_epi16(v, 4)); }

  static void q8_0(Bytes const* rows, std::int64_t depth, const Target& target) {
    for (int group = 0; group < depth / 32; ++group) {
      const std::int64_t block = group * 34;
      V::store(target.scales + group * 2 * kOutputs, halves(rows, block));
      ERNIE_IMAGE_UNROLL
      for (int half = 0; half < 2; ++half) {
        Ints q[4];
        transposed(rows, block + 2 + 16 * half, q);
        ERNIE_IMAGE_UNROLL
        for (int i = 0; i < 4; ++i)
          Target::put(target.codes, group, 4 * half + i, _mm512_xor_si512(q[i], all(128)));
      }
    }
  }

  /// 4-bit codes with a scale for each 32: `code` makes code + 128 of the lower bits of a byte.
  template <class Code>
  ERNIE_IMAGE_SIMD void nibbles(Bytes const* rows, std::int64_t depth, const Target& target,
                                Code code) {
    for (int group = 0; group < depth / 32; ++group) {
      const std::int64_t block = group * 18;
      V::store(target.scales + group * 2 * kOutputs, halves(rows, block));
      Ints q[4];
      transposed(rows, block + 2, q);
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < 4; ++i) {
        Target::put(target.codes, group, i, code(low(q[i])));
        Target::put(target.codes, group, 4 + i, code(high(q[i])));
      }
    }
  }

  static void q4_0(Bytes const* rows, std::int64_t depth, const Target& target) {
    nibbles(rows, depth, target, [](Ints q) { return _mm512_add_epi8(q, all(128 - 8)); });
  }

  /// What codes stand for, + 128.
  ERNIE_IMAGE_SIMD Ints iq4_levels() {
    // -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113, + 128
    return _mm512_broadcast_i32x4(_mm_setr_epi8(
        1, 24, 45, 63, 79, 93, 106, 118, static_cast<char>(129), static_cast<char>(141),
        static_cast<char>(153), static_cast<char>(166), static_cast<char>(181),
        static_cast<char>(197), static_cast<char>(217), static_cast<char>(241)));
  }

  static void iq4_nl(Bytes const* rows, std::int64_t depth, const Target& target) {
    const Ints levels = iq4_levels();
    nibbles(rows, depth, target, [&](Ints q) { return _mm512_shuffle_epi8(levels, q); });
  }

  /// Byte `i` of each lane.
  template <bool kSigned>
  ERNIE_IMAGE_SIMD Vec byte_of(Ints v, int i) {
    const Ints top = _mm512_slli_epi32(v, static_cast<unsigned>(24 - 8 * i));
    return _mm512_cvtepi32_ps(kSigned ? _mm512_srai_epi32(top, 24) : _mm512_srli_epi32(top, 24));
  }

  /// The scales and minima of Q4_K and Q5_K: d, m (f16), then eight times two 6-bit numbers.
  ERNIE_IMAGE_SIMD void scales_and_minima(Bytes const* rows, std::int64_t block, int group,
                                          const Target& target) {
    Ints head[4];
    transposed(rows, block, head);
    const Vec d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(head[0]));
    const Vec m = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(head[0], 16)));
    const Ints six = all(63), two = all(3);
    const auto upper = [&](Ints bits) {  // the two upper bits, as bits 4 and 5
      return _mm512_slli_epi32(_mm512_and_si512(_mm512_srli_epi32(bits, 6), two), 4);
    };
    const Ints scales[2] = {_mm512_and_si512(head[1], six),
                            _mm512_or_si512(low(head[3]), upper(head[1]))};
    const Ints minima[2] = {_mm512_and_si512(head[2], six),
                            _mm512_or_si512(high(head[3]), upper(head[2]))};
    ERNIE_IMAGE_UNROLL
    for (int j = 0; j < 8; ++j) {
      const int at = (group + j) * kOutputs;
      V::store(target.scales + 2 * at, V::mul(d, byte_of<false>(scales[j / 4], j % 4)));
      V::store(target.minima + at, V::mul(m, byte_of<false>(minima[j / 4], j % 4)));
    }
  }

  static void q4_k(Bytes const* rows, std::int64_t depth, const Target& target) {
    for (int super = 0; super < depth / 256; ++super) {
      const std::int64_t block = super * 144;
      scales_and_minima(rows, block, 8 * super, target);
      for (int part = 0; part < 8; ++part) {  // 16 bytes
        const int group = 8 * super + part / 2 * 2, step = part % 2 * 4;
        Ints q[4];
        transposed(rows, block + 16 + 16 * part, q);
        ERNIE_IMAGE_UNROLL
        for (int i = 0; i < 4; ++i) {
          Target::put(target.codes, group, step + i, _mm512_or_si512(low(q[i]), all(128)));
          Target::put(target.codes, group + 1, step + i, _mm512_or_si512(high(q[i]), all(128)));
        }
      }
    }
  }

  static void q5_k(Bytes const* rows, std::int64_t depth, const Target& target) {
    for (int super = 0; super < depth / 256; ++super) {
      const std::int64_t block = super * 176;
      scales_and_minima(rows, block, 8 * super, target);
      for (int half = 0; half < 2; ++half) {
        Ints fifth[4];
        transposed(rows, block + 16 + 16 * half, fifth);
        for (int pair = 0; pair < 4; ++pair) {
          Ints q[4];
          transposed(rows, block + 48 + 32 * pair + 16 * half, q);
          const Ints even = all(1 << (2 * pair)), odd = all(2 << (2 * pair));
          ERNIE_IMAGE_UNROLL
          for (int i = 0; i < 4; ++i) {
            const auto code = [&](Ints lower, Ints bit) {
              const __mmask64 set = _mm512_test_epi8_mask(fifth[i], bit);
              const Ints offset = _mm512_or_si512(lower, all(128));
              return _mm512_mask_add_epi8(offset, set, offset, all(16));
            };
            const int group = 8 * super + 2 * pair, step = 4 * half + i;
            Target::put(target.codes, group, step, code(low(q[i]), even));
            Target::put(target.codes, group + 1, step, code(high(q[i]), odd));
          }
        }
      }
    }
  }

  static void q6_k(Bytes const* rows, std::int64_t depth, const Target& target) {
    for (int super = 0; super < depth / 256; ++super) {
      const std::int64_t block = super * 210;
      Ints scales[4];
      transposed(rows, block + 192, scales);
      const Vec d = halves(rows, block + 208);
      ERNIE_IMAGE_UNROLL
      for (int k = 0; k < 16; ++k) {
        V::store(target.scales + (8 * super * 2 + k) * kOutputs,
                 V::mul(d, byte_of<true>(scales[k / 4], k % 4)));
      }
      for (int part = 0; part < 4; ++part) {  // 16 of the 32 consecutive weights of half a block
        const int upper = part / 2, half = part % 2;
        Ints a[4], b[4], h[4];
        transposed(rows, block + 64 * upper + 16 * half, a);
        transposed(rows, block + 64 * upper + 32 + 16 * half, b);
        transposed(rows, block + 128 + 32 * upper + 16 * half, h);
        const Ints two = all(0x30);
        ERNIE_IMAGE_UNROLL
        for (int i = 0; i < 4; ++i) {
          const auto put = [&](int j, Ints lower, Ints bits) {
            const Ints q = _mm512_or_si512(lower, _mm512_and_si512(bits, two));
            Target::put(target.codes, 8 * super + 4 * upper + j, 4 * half + i,
                        _mm512_add_epi8(q, all(128 - 32)));
          };
          put(0, low(a[i]), _mm512_slli_epi16(h[i], 4));
          put(1, low(b[i]), _mm512_slli_epi16(h[i], 2));
          put(2, high(a[i]), h[i]);
          put(3, high(b[i]), _mm512_srli_epi16(h[i], 2));
        }
      }
    }
  }

  static void decode(BlockFormat format, Bytes const* rows, std::int64_t depth,
                     const EncodedKernels::Panel& panel) {
    for (int c = 0; c < kOutputs; c += kLanes) {
      const Target target{panel.codes + 4 * c, panel.scales + c, panel.minima + c};
      switch (format) {
        case BlockFormat::q8_0:
          q8_0(rows + c, depth, target);
          break;
        case BlockFormat::q4_0:
          q4_0(rows + c, depth, target);
          break;
        case BlockFormat::iq4_nl:
          iq4_nl(rows + c, depth, target);
          break;
        case BlockFormat::q4_k:
          q4_k(rows + c, depth, target);
          break;
        case BlockFormat::q5_k:
          q5_k(rows + c, depth, target);
          break;
        case BlockFormat::q6_k:
          q6_k(rows + c, depth, target);
          break;
        case BlockFormat::none:
          break;
      }
    }
  }
};

}  // namespace ernie_image
