// The kernels of encoded_gemm.h for AVX-512 with VNNI, as templates over its vector policy; see
// simd.h for what may be used here.
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

/// Rows of activations times a decoded panel.
template <class V>
struct EncodedTile {
  using Vec = typename V::Vec;
  using Ints = typename V::Ints;
  static constexpr int kRows = EncodedKernels::kTileRows;
  static constexpr int kVectors = 2;
  static constexpr int kGroup = EncodedKernels::kGroupDepth;
  // An integer n, |n| < 2^22, plus these bits is the float n + 1.5 * 2^23: the sum needs no
  // conversion. A scale of a block has 19 significant bits at most, so that its product with that
  // number is exact, and a fused multiply-subtract rounds the product with n once.
  static constexpr int kFloatBits = 0x4b400000;
  static constexpr float kFloatOffset = 12582912.0f;

  static void quantize_row(DType dtype, const std::byte* x, std::int64_t depth,
                           const EncodedKernels::Rows& target, int lane) {
    if (dtype == DType::f32) {
      quantize(reinterpret_cast<const float*>(x), depth, target, lane);
    } else {
      quantize(reinterpret_cast<const Bf16*>(x), depth, target, lane);
    }
  }

  template <class T>
  ERNIE_IMAGE_SIMD void quantize(const T* x, std::int64_t depth, const EncodedKernels::Rows& target,
                                 int lane) {
    constexpr float kActivationCode = 127.0f;
    constexpr float kTiny = 1e-30f;  // as good as zeros, and not to be inverted
    for (std::int64_t group = 0; group < depth / kGroup; ++group) {
      const Vec a = V::load(x + group * kGroup), b = V::load(x + group * kGroup + 16);
      const Vec bad = V::fma(a, V::zero(), V::mul(b, V::zero()));
      const float largest = V::reduce_max(V::max(V::abs(a), V::abs(b))) + V::reduce_add(bad);
      const Vec inverse = V::broadcast(largest > kTiny ? kActivationCode / largest : 0.0f);
      const int first = put(V::mul(a, inverse), target, group * 8, lane);
      const int second = put(V::mul(b, inverse), target, group * 8 + 4, lane);
      const float scale = largest / kActivationCode;
      target.scales[group * kRows + lane] = scale;
      target.sums[group * kRows + lane] = scale * static_cast<float>(first + second);
      std::int32_t* starts = target.starts + group * 3 * kRows + lane;
      starts[0] = kFloatBits - 128 * (first + second);
      starts[kRows] = kFloatBits - 128 * first;
      starts[2 * kRows] = kFloatBits - 128 * second;
    }
  }

  /// 16 codes, from step `step` on; gives their sum.
  ERNIE_IMAGE_SIMD int put(Vec v, const EncodedKernels::Rows& target, std::int64_t step, int lane) {
    const Ints codes = _mm512_max_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(-127));
    alignas(16) std::int8_t bytes[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(bytes), _mm512_cvtsepi32_epi8(codes));
    ERNIE_IMAGE_UNROLL
    for (int i = 0; i < 4; ++i)
      __builtin_memcpy(target.codes + ((step + i) * kRows + lane) * 4, bytes + 4 * i, 4);
    return _mm512_reduce_add_epi32(codes);
  }

  /// kSteps steps of one scale: total += scale of x * scale of w * integer sum.
  template <int kSteps>
  ERNIE_IMAGE_SIMD void add_group(const std::int8_t* x, const std::byte* codes,
                                  const std::int32_t* starts, const float* scales,
                                  const float* x_scales, Vec (&total)[kRows][kVectors]) {
    Ints sum[kRows][kVectors];
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) sum[r][c] = _mm512_set1_epi32(starts[r]);
    }
    ERNIE_IMAGE_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      Ints w[kVectors];
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c)
        w[c] = _mm512_loadu_si512(codes + (step * kVectors + c) * 64);
      ERNIE_IMAGE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        int step_codes;
        __builtin_memcpy(&step_codes, x + (step * kRows + r) * 4, 4);
        const Ints a = _mm512_set1_epi32(step_codes);
        ERNIE_IMAGE_UNROLL
        for (int c = 0; c < kVectors; ++c) {
          sum[r][c] = _mm512_dpbusd_epi32(sum[r][c], w[c], a);
          V::keep(sum[r][c]);
        }
      }
    }
    Vec scale[kVectors], offset[kVectors];
    ERNIE_IMAGE_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      scale[c] = V::load(scales + c * 16);
      offset[c] = V::mul(scale[c], V::broadcast(kFloatOffset));
    }
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vec x_scale = V::broadcast(x_scales[r]);
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) {
        const Vec product = _mm512_fmsub_ps(_mm512_castsi512_ps(sum[r][c]), scale[c], offset[c]);
        total[r][c] = V::fma(product, x_scale, total[r][c]);
      }
    }
  }

  template <bool kHalves, bool kMinima>
  [[gnu::flatten]] static void multiply(const EncodedKernels::Rows& rows,
                                        const EncodedKernels::Panel& panel, std::int64_t depth,
                                        bool accumulate, float* tile) {
    constexpr int kOutputs = EncodedKernels::kPanelOutputs;
    Vec total[kRows][kVectors];
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c)
        total[r][c] = accumulate ? V::load(tile + r * kOutputs + c * 16) : V::zero();
    }
    const std::int8_t* x = rows.codes;
    const std::byte* codes = panel.codes;
    for (std::int64_t group = 0; group < depth / kGroup; ++group) {
      const float* scales = panel.scales + group * 2 * kOutputs;
      const float* x_scales = rows.scales + group * kRows;
      const std::int32_t* starts = rows.starts + group * 3 * kRows;
      if constexpr (kHalves) {
        add_group<4>(x, codes, starts + kRows, scales, x_scales, total);
        add_group<4>(x + 16 * kRows, codes + 4 * kOutputs * 4, starts + 2 * kRows,
                     scales + kOutputs, x_scales, total);
      } else {
        add_group<8>(x, codes, starts, scales, x_scales, total);
      }
      if constexpr (kMinima) {
        ERNIE_IMAGE_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const Vec sum = V::broadcast(rows.sums[group * kRows + r]);
          ERNIE_IMAGE_UNROLL
          for (int c = 0; c < kVectors; ++c) {
            total[r][c] = _mm512_fnmadd_ps(V::load(panel.minima + group * kOutputs + c * 16), sum,
                                           total[r][c]);
          }
        }
      }
      x += kGroup * kRows;
      codes += kGroup * kOutputs;
    }
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) V::store(tile + r * kOutputs + c * 16, total[r][c]);
    }
  }

  static void multiply_tile(BlockFormat format, const EncodedKernels::Rows& rows,
                            const EncodedKernels::Panel& panel, std::int64_t depth, bool accumulate,
                            float* tile) {
    switch (format) {
      case BlockFormat::q6_k:
        return multiply<true, false>(rows, panel, depth, accumulate, tile);
      case BlockFormat::q4_k:
      case BlockFormat::q5_k:
        return multiply<false, true>(rows, panel, depth, accumulate, tile);
      default:
        return multiply<false, false>(rows, panel, depth, accumulate, tile);
    }
  }
};

/// One row of activations times rows of weights: memory is to be the limit. 64 weights are
/// multiplied at a time, in the order of their block's bytes.
template <class V>
struct EncodedVector {
  using Vec = typename V::Vec;
  using Ints = typename V::Ints;
  using Bytes = const std::byte*;
  using Vector = EncodedKernels::Vector;
  using Decoder = BlockDecoder<V>;

  static void quantize(DType dtype, const std::byte* x, std::int64_t depth, const Vector& target) {
    const float* floats = reinterpret_cast<const float*>(x);
    const Bf16* halves = reinterpret_cast<const Bf16*>(x);
    std::int64_t k = 0;
    for (; k < depth; k += 32) {
      if (dtype == DType::f32) {
        quantize_group(V::load(floats + k), V::load(floats + k + 16), k, target);
      } else {
        quantize_group(V::load(halves + k), V::load(halves + k + 16), k, target);
      }
    }
    for (; k % EncodedKernels::kVectorDepth != 0; k += 32)
      quantize_group(V::zero(), V::zero(), k, target);
  }

  ERNIE_IMAGE_SIMD void quantize_group(Vec a, Vec b, std::int64_t k, const Vector& target) {
    constexpr float kActivationCode = 127.0f * 256.0f;
    constexpr float kTiny = 1e-30f;
    const Vec bad = V::fma(a, V::zero(), V::mul(b, V::zero()));
    const float largest = V::reduce_max(V::max(V::abs(a), V::abs(b))) + V::reduce_add(bad);
    const Vec inverse = V::broadcast(largest > kTiny ? kActivationCode / largest : 0.0f);
    const float scale = largest / kActivationCode;
    const float first = scale * static_cast<float>(put(V::mul(a, inverse), k, target));
    const float second = scale * static_cast<float>(put(V::mul(b, inverse), k + 16, target));
    target.scales[k / 16] = target.scales[k / 16 + 1] = scale;
    target.half_sums[k / 16] = first;
    target.half_sums[k / 16 + 1] = second;
    target.sums[k / 32] = first + second;
  }

  ERNIE_IMAGE_SIMD int put(Vec v, std::int64_t k, const Vector& target) {
    const Ints least = _mm512_set1_epi32(-127 * 256);
    const Ints code = _mm512_max_epi32(_mm512_cvtps_epi32(v), least);
    const Ints high = _mm512_srai_epi32(_mm512_add_epi32(code, _mm512_set1_epi32(128)), 8);
    const auto store = [](std::int8_t* to, Ints bytes) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(bytes));
    };
    store(target.high + k, high);
    store(target.low + k, code);  // the lower bits, less 256 where bit 7 is set
    return _mm512_reduce_add_epi32(code);
  }

  /// Sums of four products with weights 0 to 255, at x from k on.
  ERNIE_IMAGE_SIMD Vec products(const Vector& x, std::int64_t k, Ints w) {
    const Ints high = _mm512_dpbusd_epi32(V::zero_ints(), w, V::load_ints(x.high + k));
    return _mm512_cvtepi32_ps(
        _mm512_dpbusd_epi32(_mm512_slli_epi32(high, 8), w, V::load_ints(x.low + k)));
  }

  ERNIE_IMAGE_SIMD void prefetch(Bytes at, int bytes) {
    constexpr int kAheadBytes = 1536, kLine = 64;
    ERNIE_IMAGE_UNROLL
    for (int i = 0; i < bytes; i += kLine) __builtin_prefetch(at + kAheadBytes + i, 0);
  }

  ERNIE_IMAGE_SIMD __m128i load16(Bytes p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  ERNIE_IMAGE_SIMD __m256i load32(Bytes p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }

  /// Blocks of 32 that begin with their scale. `pair(row, has_second)` gives weights + `zero` of
  /// two blocks.
  template <int kBytes, class Pair>
  ERNIE_IMAGE_SIMD float blocks(Bytes row, std::int64_t depth, const Vector& x, float zero,
                                Pair pair) {
    constexpr int kBatch = 16;  // blocks whose scales are converted at a time
    Vec sum = V::zero(), offsets = V::zero();
    const int count = static_cast<int>(depth / 32);
    for (int begin = 0; begin < count; begin += kBatch) {
      const int batch = count - begin < kBatch ? count - begin : kBatch;
      alignas(32) std::uint16_t bits[kBatch] = {};
      if (batch == kBatch) {
        ERNIE_IMAGE_UNROLL
        for (int i = 0; i < kBatch; ++i) __builtin_memcpy(&bits[i], row + i * kBytes, 2);
      } else {
        for (int i = 0; i < batch; ++i) __builtin_memcpy(&bits[i], row + i * kBytes, 2);
      }
      const Vec d = _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(bits)));
      offsets = V::fma(d, V::load(x.sums + begin), offsets);
      const Vec scales = V::mul(d, even_lanes(x.scales + 2 * begin));
      Ints lanes = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
      for (int i = 0; i < batch; i += 2) {
        prefetch(row, 2 * kBytes);
        const Vec product = products(x, std::int64_t{32} * (begin + i), pair(row, i + 1 < batch));
        sum = V::fma(product, _mm512_permutexvar_ps(lanes, scales), sum);
        lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(2));
        row += 2 * kBytes;
      }
    }
    return V::reduce_add(_mm512_fnmadd_ps(V::broadcast(zero), offsets, sum));
  }

  /// p[0], p[2], ...
  ERNIE_IMAGE_SIMD Vec even_lanes(const float* p) {
    const Ints even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(V::load(p), even, V::load(p + 16));
  }

  static float q8_0(Bytes row, std::int64_t depth, const Vector& x) {
    return blocks<34>(row, depth, x, 128.0f, [](Bytes at, bool has_second) {
      Ints w = _mm512_castsi256_si512(load32(at + 2));
      w = has_second ? _mm512_inserti64x4(w, load32(at + 36), 1)
                     : _mm512_zextsi256_si512(load32(at + 2));
      return _mm512_xor_si512(w, Decoder::all(128));
    });
  }

  /// The codes of two blocks of 18 bytes.
  ERNIE_IMAGE_SIMD Ints two_blocks(Bytes at, bool has_second) {
    const __m256i first = _mm256_broadcastsi128_si256(load16(at + 2));
    const __m256i second = has_second ? _mm256_broadcastsi128_si256(load16(at + 20)) : first;
    const Ints both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
    const Ints shifts = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    return Decoder::low(_mm512_srlv_epi64(both, shifts));
  }

  static float q4_0(Bytes row, std::int64_t depth, const Vector& x) {
    return blocks<18>(row, depth, x, 8.0f,
                      [](Bytes at, bool has_second) { return two_blocks(at, has_second); });
  }

  static float iq4_nl(Bytes row, std::int64_t depth, const Vector& x) {
    const Ints levels = Decoder::iq4_levels();
    return blocks<18>(row, depth, x, 128.0f, [&](Bytes at, bool has_second) {
      return _mm512_shuffle_epi8(levels, two_blocks(at, has_second));
    });
  }

  /// d and m times the eight scales and minima of Q4_K and Q5_K.
  struct Header {
    __m256 scales, minima;
  };
  ERNIE_IMAGE_SIMD Header header(Bytes block) {
    std::uint32_t dm, s0, s1, s2;
    __builtin_memcpy(&dm, block, 4);
    __builtin_memcpy(&s0, block + 4, 4);
    __builtin_memcpy(&s1, block + 8, 4);
    __builtin_memcpy(&s2, block + 12, 4);
    constexpr std::uint32_t kSix = 0x3f3f3f3f, kFour = 0x0f0f0f0f, kTwo = 0x30303030;
    const std::uint64_t scales = (s0 & kSix) | std::uint64_t{(s2 & kFour) | (s0 >> 2 & kTwo)} << 32;
    const std::uint64_t minima = (s1 & kSix) | std::uint64_t{(s2 >> 4 & kFour) | (s1 >> 2 & kTwo)}
                                                   << 32;
    const __m128 both = _mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(dm)));
    const auto floats = [](std::uint64_t bytes) {
      return _mm256_cvtepi32_ps(
          _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes))));
    };
    return {_mm256_mul_ps(floats(scales), _mm256_broadcastss_ps(both)),
            _mm256_mul_ps(floats(minima), _mm256_broadcastss_ps(_mm_movehdup_ps(both)))};
  }

  /// Q4_K and Q5_K: `quarter(block, i)` gives the codes of the 64 weights from 64 i on.
  template <int kBytes, class Quarter>
  ERNIE_IMAGE_SIMD float super_blocks(Bytes row, std::int64_t depth, const Vector& x,
                                      Quarter quarter) {
    Vec sum = V::zero();
    __m256 offsets = _mm256_setzero_ps();
    for (std::int64_t k = 0; k < depth; k += 256, row += kBytes) {
      prefetch(row, kBytes);
      const Header head = header(row);
      offsets = _mm256_fmadd_ps(head.minima, _mm256_loadu_ps(x.sums + k / 32), offsets);
      const Ints even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0);
      const __m256 x_scales =
          _mm512_castps512_ps256(_mm512_permutexvar_ps(even, V::load(x.scales + k / 16)));
      const Vec scales = _mm512_castps256_ps512(_mm256_mul_ps(head.scales, x_scales));
      Ints lanes = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
      ERNIE_IMAGE_UNROLL
      for (int i = 0; i < 4; ++i) {
        const Vec product = products(x, k + 64 * i, quarter(row, i));
        sum = V::fma(product, _mm512_permutexvar_ps(lanes, scales), sum);
        lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(2));
      }
    }
    return V::reduce_add(V::sub(sum, _mm512_zextps256_ps512(offsets)));
  }

  /// The low nibbles of 32 bytes, then the high ones.
  ERNIE_IMAGE_SIMD Ints both_nibbles(Bytes at) {
    const Ints shifts = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4);
    return Decoder::low(_mm512_srlv_epi64(_mm512_broadcast_i64x4(load32(at)), shifts));
  }

  static float q4_k(Bytes row, std::int64_t depth, const Vector& x) {
    return super_blocks<144>(row, depth, x,
                             [](Bytes block, int i) { return both_nibbles(block + 16 + 32 * i); });
  }

  static float q5_k(Bytes row, std::int64_t depth, const Vector& x) {
    return super_blocks<176>(row, depth, x, [](Bytes block, int i) {
      const Ints q = both_nibbles(block + 48 + 32 * i);
      const Ints fifth = _mm512_broadcast_i64x4(load32(block + 16));
      const Ints bits = _mm512_inserti64x4(Decoder::all(1 << (2 * i)),
                                           _mm256_set1_epi8(static_cast<char>(2 << (2 * i))), 1);
      return _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(fifth, bits), q, Decoder::all(16));
    });
  }

  static float q6_k(Bytes row, std::int64_t depth, const Vector& x) {
    Vec sum = V::zero(), offsets = V::zero();
    const Ints low_shifts = _mm512_setr_epi64(4, 4, 4, 4, 2, 2, 2, 2);
    const Ints high_shifts = _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2);
    const Ints two = Decoder::all(0x30);
    for (std::int64_t k = 0; k < depth; k += 256, row += 210) {
      prefetch(row, 210);
      std::uint16_t half;
      __builtin_memcpy(&half, row + 208, 2);
      const Vec d = _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
      const Vec scale = V::mul(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load16(row + 192))));
      offsets = V::fma(scale, V::load(x.half_sums + k / 16), offsets);
      const Vec scales = V::mul(scale, V::load(x.scales + k / 16));
      Ints lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
      const auto add = [&](std::int64_t at, Ints lower, Ints bits) {
        const Vec product = products(x, at, _mm512_or_si512(lower, _mm512_and_si512(bits, two)));
        sum = V::fma(product, _mm512_permutexvar_ps(lanes, scales), sum);
        lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(4));
      };
      ERNIE_IMAGE_UNROLL
      for (int upper = 0; upper < 2; ++upper) {
        const Ints q = V::load_ints(row + 64 * upper);
        const Ints h = _mm512_broadcast_i64x4(load32(row + 128 + 32 * upper));
        add(k + 128 * upper, Decoder::low(q), _mm512_sllv_epi64(h, low_shifts));
        add(k + 128 * upper + 64, Decoder::high(q), _mm512_srlv_epi64(h, high_shifts));
      }
    }
    return V::reduce_add(_mm512_fnmadd_ps(V::broadcast(32.0f), offsets, sum));
  }

  static void multiply(BlockFormat format, const Vector& x, const std::byte* const* rows, int count,
                       std::int64_t depth, float* result) {
    for (int n = 0; n < count; ++n) {
      switch (format) {
        case BlockFormat::q8_0:
          result[n] = q8_0(rows[n], depth, x);
          break;
        case BlockFormat::q4_0:
          result[n] = q4_0(rows[n], depth, x);
          break;
        case BlockFormat::iq4_nl:
          result[n] = iq4_nl(rows[n], depth, x);
          break;
        case BlockFormat::q4_k:
          result[n] = q4_k(rows[n], depth, x);
          break;
        case BlockFormat::q5_k:
          result[n] = q5_k(rows[n], depth, x);
          break;
        case BlockFormat::q6_k:
          result[n] = q6_k(rows[n], depth, x);
          break;
        case BlockFormat::none:
          break;
      }
    }
  }
};

template <class V>
EncodedKernels make_encoded_kernels() {
  EncodedKernels kernels;
  kernels.quantize_row = EncodedTile<V>::quantize_row;
  kernels.decode = BlockDecoder<V>::decode;
  kernels.multiply_tile = EncodedTile<V>::multiply_tile;
  kernels.quantize_vector = EncodedVector<V>::quantize;
  kernels.multiply_vector = EncodedVector<V>::multiply;
  return kernels;
}

}  // namespace ernie_image
