// The kernels of packed_gemm.h as templates over a vector policy; see simd.h for what may be used
// here.
#pragma once

#include "backend/cpu/gemm.inc.h"
#include "backend/cpu/packed_activations.inc.h"
#include "backend/cpu/packed_gemm.h"
#include "backend/cpu/simd.h"

namespace ernie_image {

/// How one group of 32 along K is multiplied: kRows rows times 16 outputs.
template <class V, int kRows>
struct PackedTile {
  using Vec = typename V::Vec;
  using Ints = typename V::Ints;
  static constexpr int kVectors = PackedForm::kStepBytes / static_cast<int>(sizeof(Ints));
  static constexpr int kSteps = PackedForm::kGroupSteps;
  using Sums = Ints[kRows][kVectors];

  /// A step of 8-bit codes as the record holds them.
  struct Codes8 {
    static constexpr int kGroupBytes = PackedForm::kStepBytes * kSteps;
    ERNIE_IMAGE_SIMD Ints load(const std::byte* group, int step, int vector) {
      return V::load_ints(group + step * PackedForm::kStepBytes +
                          vector * static_cast<int>(sizeof(Ints)));
    }
  };

  /// A step of 4-bit codes as the record holds them.
  struct Codes4 {
    static constexpr int kGroupBytes = PackedForm::kStepBytes * kSteps / 2;
    ERNIE_IMAGE_SIMD Ints load(const std::byte* group, int step, int vector) {
      const Ints pair = V::load_ints(group + step / 2 * PackedForm::kStepBytes +
                                     vector * static_cast<int>(sizeof(Ints)));
      return step % 2 == 0 ? V::low_codes(pair) : V::high_codes(pair);
    }
  };

  /// Activations with an offset start from minus the offset times the block's sum of weights.
  ERNIE_IMAGE_SIMD Ints initial_total(const std::byte* sums, int vector) {
    if constexpr (!V::kOffsetCodes) {
      return V::zero_ints();
    } else {
      return V::negated_times_largest_code(
          V::load_ints(sums + vector * static_cast<int>(sizeof(Ints))));
    }
  }

  ERNIE_IMAGE_SIMD void load_scales(const std::byte* scales, Ints (&scale)[kVectors]) {
    ERNIE_IMAGE_UNROLL
    for (int c = 0; c < kVectors; ++c)
      scale[c] = V::load_group_scales(scales + c * static_cast<int>(sizeof(Ints)) / 4);
  }

  /// total += scale * x * w at each step: for instruction sets that multiply by the scale in the
  /// same instruction that adds up products.
  ERNIE_IMAGE_SIMD void add_scaled_step(const std::uint8_t* x, const std::byte* group, int step,
                                        const Ints (&scale)[kVectors], Sums& total) {
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Ints a = V::broadcast_step(x + (step * kRows + r) * 4);
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) {
        total[r][c] = V::add_scaled_dot4(total[r][c], a, Codes8::load(group, step, c), scale[c]);
        V::keep(total[r][c]);
      }
    }
  }

  /// The sums of a group, not scaled.
  template <class Codes>
  ERNIE_IMAGE_SIMD void sum_group(const std::uint8_t* x, const std::byte* group, Sums& sum) {
    ERNIE_IMAGE_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      Ints w[kVectors];
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) w[c] = Codes::load(group, step, c);
      ERNIE_IMAGE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const Ints a = V::broadcast_step(x + (step * kRows + r) * 4);
        ERNIE_IMAGE_UNROLL
        for (int c = 0; c < kVectors; ++c) {
          sum[r][c] = step == 0 ? V::dot4(a, w[c]) : V::add_dot4(sum[r][c], a, w[c]);
          V::keep(sum[r][c]);
        }
      }
    }
  }

  /// The parts of a block of the weight.
  template <class Codes>
  struct Block {
    ERNIE_IMAGE_SIMD int groups_of(std::int64_t depth) {
      return static_cast<int>(depth) / PackedForm::kGroupDepth;
    }
    ERNIE_IMAGE_SIMD const std::byte* scales(const std::byte* block, int groups) {
      return block + groups * Codes::kGroupBytes;
    }
    ERNIE_IMAGE_SIMD const std::byte* sums(const std::byte* block, int groups) {
      return scales(block, groups) + groups * PackedForm::kOutputs;
    }
    ERNIE_IMAGE_SIMD const std::byte* end(const std::byte* block, int groups) {
      return sums(block, groups) + PackedForm::kStepBytes;
    }
  };

  /// tile (+)= x_scale * total
  ERNIE_IMAGE_SIMD void add_block(Ints total, float x_scale, bool accumulate, float* tile) {
    const Vec product = V::ints_to_float(total);
    const Vec scale = V::broadcast(x_scale);
    V::store(tile, accumulate ? V::fma(product, scale, V::load(tile)) : V::mul(product, scale));
  }

  /// The totals stay in registers for the whole block.
  ERNIE_IMAGE_SIMD void multiply_block_each_step(const std::uint8_t* x, const float* x_scales,
                                                 const std::byte* block, int groups,
                                                 bool accumulate, float* tile) {
    const std::byte* scales = Block<Codes8>::scales(block, groups);
    const std::byte* sums = Block<Codes8>::sums(block, groups);
    Sums total;
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) total[r][c] = initial_total(sums, c);
    }
    for (int group = 0; group < groups; ++group) {
      Ints scale[kVectors];
      load_scales(scales, scale);
      ERNIE_IMAGE_UNROLL
      for (int step = 0; step < kSteps; ++step) add_scaled_step(x, block, step, scale, total);
      x += kSteps * kRows * 4;
      block += Codes8::kGroupBytes;
      scales += PackedForm::kOutputs;
    }
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c)
        add_block(total[r][c], x_scales[r], accumulate,
                  tile + r * PackedForm::kOutputs + c * V::kWidth);
    }
  }

  /// The sums of a group fill the registers; the totals are in memory, at hand in L1.
  template <class Codes>
  ERNIE_IMAGE_SIMD void multiply_block_by_group(const std::uint8_t* x, const float* x_scales,
                                                const std::byte* block, int groups, bool accumulate,
                                                std::int32_t* totals, float* tile) {
    const std::byte* scales = Block<Codes>::scales(block, groups);
    const std::byte* sums = Block<Codes>::sums(block, groups);
    const auto at = [](int r, int c) { return r * PackedForm::kOutputs + c * V::kWidth; };
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) V::store_ints(totals + at(r, c), initial_total(sums, c));
    }
    for (int group = 0; group < groups; ++group) {
      Sums sum;
      sum_group<Codes>(x, block, sum);
      Ints scale[kVectors];
      load_scales(scales, scale);
      ERNIE_IMAGE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        ERNIE_IMAGE_UNROLL
        for (int c = 0; c < kVectors; ++c) {
          std::int32_t* total = totals + at(r, c);
          V::store_ints(total, V::add_scaled(V::load_ints(total), sum[r][c], scale[c]));
        }
      }
      x += kSteps * kRows * 4;
      block += Codes::kGroupBytes;
      scales += PackedForm::kOutputs;
    }
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c)
        add_block(V::load_ints(totals + at(r, c)), x_scales[r], accumulate, tile + at(r, c));
    }
  }

  /// `kEachStep`: multiply by group scales at each step, which 8-bit codes need where products are
  /// summed in 16 bits.
  template <bool kEachStep>
  [[gnu::flatten]] static void multiply(const PackedOperands& operands, bool accumulate,
                                        std::int32_t* totals, float* tile) {
    const std::uint8_t* x = operands.codes;
    const float* x_scales = operands.scales;
    const std::byte* block = operands.blocks;
    for (std::int64_t k = 0; k < operands.depth; k += PackedForm::kBlockDepth) {
      const std::int64_t rest = operands.depth - k;
      const int groups =
          Block<Codes8>::groups_of(rest < PackedForm::kBlockDepth ? rest : PackedForm::kBlockDepth);
      if constexpr (kEachStep) {
        multiply_block_each_step(x, x_scales, block, groups, accumulate || k > 0, tile);
      } else {
        multiply_block_by_group<Codes8>(x, x_scales, block, groups, accumulate || k > 0, totals,
                                        tile);
      }
      x += PackedForm::kBlockDepth * kRows;
      x_scales += kRows;
      block = Block<Codes8>::end(block, groups);
    }
  }
};

/// kRows rows times two panels, where many groups in a row have the same scale: twice the sums in
/// registers hide the latency of their products and halve the loads of activations, and a sum is
/// multiplied by a scale once in a run. The integers are those of PackedTile.
template <class V, int kRows>
struct PackedPair {
  using Vec = typename V::Vec;
  using Ints = typename V::Ints;
  using Tile = PackedTile<V, kRows>;
  using Block = typename Tile::template Block<typename Tile::Codes8>;
  static constexpr int kStepsAtOnce = 4;
  static constexpr int kTile = kRows * PackedForm::kOutputs;
  using Sums = Ints[kRows][2];

  ERNIE_IMAGE_SIMD void sum_run(const std::uint8_t* x, const std::byte* codes, std::int64_t stride,
                                int steps, Sums& sum, const std::byte*& ahead,
                                std::int64_t ahead_step) {
    ERNIE_IMAGE_UNROLL
    for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = V::zero_ints();
    for (int i = 0; i < steps; i += kStepsAtOnce) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += ahead_step;
      ERNIE_IMAGE_UNROLL
      for (int step = 0; step < kStepsAtOnce; ++step) {
        const std::byte* const at = codes + step * PackedForm::kStepBytes;
        const Ints w0 = V::load_ints(at), w1 = V::load_ints(at + stride);
        ERNIE_IMAGE_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const Ints a = V::broadcast_step(x + (step * kRows + r) * 4);
          sum[r][0] = V::add_dot4(sum[r][0], a, w0);
          V::keep(sum[r][0]);
          sum[r][1] = V::add_dot4(sum[r][1], a, w1);
          V::keep(sum[r][1]);
        }
      }
      x += kStepsAtOnce * kRows * 4;
      codes += kStepsAtOnce * PackedForm::kStepBytes;
    }
  }

  ERNIE_IMAGE_SIMD void multiply_block(const std::uint8_t* x, const float* x_scales,
                                       const std::byte* block, std::int64_t stride, int groups,
                                       int run_groups, bool accumulate, std::int32_t* totals,
                                       float* tiles, const std::byte*& ahead,
                                       std::int64_t ahead_step) {
    const std::byte* scales = Block::scales(block, groups);
    // Where totals so far are: at first the same for every row.
    const std::byte* const sums = Block::sums(block, groups);
    Ints first[2] = {Tile::initial_total(sums, 0), Tile::initial_total(sums + stride, 0)};
    const std::int32_t* before = reinterpret_cast<const std::int32_t*>(first);
    int row_step = 0;
    for (int group = 0;; group += run_groups) {
      const int rest = groups - group;
      Sums sum;
      sum_run(x, block, stride, (rest < run_groups ? rest : run_groups) * Tile::kSteps, sum, ahead,
              ahead_step);
      const Ints scale[2] = {V::load_group_scales(scales), V::load_group_scales(scales + stride)};
      if (rest <= run_groups) {
        ERNIE_IMAGE_UNROLL
        for (int r = 0; r < kRows; ++r) {
          ERNIE_IMAGE_UNROLL
          for (int c = 0; c < 2; ++c) {
            const Ints total =
                V::add_scaled(V::load_ints(before + r * row_step + c * PackedForm::kOutputs),
                              sum[r][c], scale[c]);
            Tile::add_block(total, x_scales[r], accumulate,
                            tiles + c * kTile + r * PackedForm::kOutputs);
          }
        }
        return;
      }
      ERNIE_IMAGE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        ERNIE_IMAGE_UNROLL
        for (int c = 0; c < 2; ++c)
          V::store_ints(
              totals + (2 * r + c) * PackedForm::kOutputs,
              V::add_scaled(V::load_ints(before + r * row_step + c * PackedForm::kOutputs),
                            sum[r][c], scale[c]));
      }
      before = totals;
      row_step = 2 * PackedForm::kOutputs;
      x += run_groups * Tile::kSteps * kRows * 4;
      block += run_groups * Tile::Codes8::kGroupBytes;
      scales += run_groups * PackedForm::kOutputs;
    }
  }

  [[gnu::flatten]] static void multiply(const PackedOperands& operands, std::int64_t stride,
                                        std::int64_t run, bool accumulate, std::int32_t* totals,
                                        float* tiles) {
    const std::uint8_t* x = operands.codes;
    const float* x_scales = operands.scales;
    const std::byte* block = operands.blocks;
    const int run_groups = static_cast<int>(run) / PackedForm::kGroupDepth;
    const std::byte* ahead = operands.ahead;
    for (std::int64_t k = 0; k < operands.depth; k += PackedForm::kBlockDepth) {
      const std::int64_t rest = operands.depth - k;
      const int groups =
          Block::groups_of(rest < PackedForm::kBlockDepth ? rest : PackedForm::kBlockDepth);
      multiply_block(x, x_scales, block, stride, groups, run_groups, accumulate || k > 0, totals,
                     tiles, ahead, operands.ahead_step);
      x += PackedForm::kBlockDepth * kRows;
      x_scales += kRows;
      block = Block::end(block, groups);
    }
  }
};

/// One row of activations against a record: memory is to be the limit.
template <class V>
struct PackedRow {
  using Vec = typename V::Vec;
  using Ints = typename V::Ints;
  using Tile = PackedTile<V, 1>;
  static constexpr int kVectors = Tile::kVectors;

  /// The stream that the processor does not foresee: the next lines of this record and of the next.
  ERNIE_IMAGE_SIMD void prefetch(const std::byte* codes, int bytes) {
    constexpr int kAheadBytes = 2048;
    constexpr int kLine = 64;
    ERNIE_IMAGE_UNROLL
    for (int line = 0; line < bytes; line += kLine)
      __builtin_prefetch(codes + kAheadBytes + line, 0);
  }

  template <class Codes, bool kEachStep>
  ERNIE_IMAGE_SIMD void add_group(const std::uint8_t* x, const std::byte* group,
                                  const std::byte* scales, typename Tile::Sums& total) {
    Ints scale[kVectors];
    Tile::load_scales(scales, scale);
    if constexpr (kEachStep) {
      ERNIE_IMAGE_UNROLL
      for (int step = 0; step < Tile::kSteps; ++step)
        Tile::add_scaled_step(x, group, step, scale, total);
    } else {
      typename Tile::Sums sum;
      Tile::template sum_group<Codes>(x, group, sum);
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c)
        total[0][c] = V::add_scaled(total[0][c], sum[0][c], scale[c]);
    }
  }

  template <class Codes, bool kEachStep>
  [[gnu::flatten]] static void multiply(const PackedOperands& operands, float* result) {
    using Block = typename Tile::template Block<Codes>;
    const std::uint8_t* x = operands.codes;
    const float* x_scales = operands.scales;
    const std::byte* block = operands.blocks;
    Vec y[kVectors];
    ERNIE_IMAGE_UNROLL
    for (int c = 0; c < kVectors; ++c) y[c] = V::zero();
    for (std::int64_t k = 0; k < operands.depth; k += PackedForm::kBlockDepth) {
      const std::int64_t rest = operands.depth - k;
      const int groups =
          Block::groups_of(rest < PackedForm::kBlockDepth ? rest : PackedForm::kBlockDepth);
      const std::byte* scales = Block::scales(block, groups);
      typename Tile::Sums total;
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c)
        total[0][c] = Tile::initial_total(Block::sums(block, groups), c);
      for (int group = 0; group < groups; ++group) {
        const std::byte* codes = block + group * Codes::kGroupBytes;
        prefetch(codes, Codes::kGroupBytes);
        add_group<Codes, kEachStep>(x, codes, scales + group * PackedForm::kOutputs, total);
        x += Tile::kSteps * 4;
      }
      const Vec x_scale = V::broadcast(*x_scales++);
      ERNIE_IMAGE_UNROLL
      for (int c = 0; c < kVectors; ++c) {
        const Vec product = V::ints_to_float(total[0][c]);
        // As a tile does it: what the number of rows is must not show in the result.
        y[c] = k > 0 ? V::fma(product, x_scale, y[c]) : V::mul(product, x_scale);
      }
      block = Block::end(block, groups);
    }
    ERNIE_IMAGE_UNROLL
    for (int c = 0; c < kVectors; ++c) V::store(result + c * V::kWidth, y[c]);
  }
};

/// 4-bit codes in the form of 8-bit codes; scales and sums are copied.
template <class V>
struct PackedUnpacker {
  using Ints = typename V::Ints;
  using Tile = PackedTile<V, 1>;
  static constexpr int kVectorBytes = static_cast<int>(sizeof(Ints));

  /// Bit f - 1: whether a scale of this magnitude is f times a multiple that 4-bit codes allow.
  struct Factors {
    std::uint8_t bits[128];
    constexpr Factors() : bits{} {
      for (int magnitude = 0; magnitude < 128; ++magnitude) {
        for (int f = 1; f <= PackedForm::kMaxFactor; ++f) {
          if (magnitude % f == 0 && magnitude / f <= PackedForm::kMaxMultiple)
            bits[magnitude] = static_cast<std::uint8_t>(bits[magnitude] | 1 << (f - 1));
        }
      }
    }
  };

  /// Of the scales [groups][16] of a run, for each output: a factor such that all are small
  /// multiples of it, and these multiples. If there is none for an output, its scales stay.
  static void split_scales(const std::int8_t* scales, int groups, std::int8_t* multiples,
                           std::int8_t* factors) {
    static constexpr Factors kFactors;
    constexpr int kOne = 1 << 16;
    for (int output = 0; output < PackedForm::kOutputs; ++output) {
      unsigned common = 0xff;
      for (int group = 0; group < groups; ++group) {
        const int scale = scales[group * PackedForm::kOutputs + output];
        common &= kFactors.bits[(scale < 0 ? -scale : scale) & 127];
      }
      const int factor = common == 0 ? 0 : __builtin_ctz(common) + 1;
      const int inverse = factor == 0 ? 0 : (kOne + factor / 2) / factor;
      for (int group = 0; group < groups; ++group) {
        const int at = group * PackedForm::kOutputs + output;
        const int multiple = (scales[at] * inverse + kOne / 2) >> 16;
        multiples[at] = static_cast<std::int8_t>(factor == 0 ? 1 : multiple);
        factors[at] = static_cast<std::int8_t>(factor == 0 ? scales[at] : factor);
      }
    }
  }

  /// Codes times the small multiples; what is left of the scales is the same in a run wherever it
  /// can be.
  static void unpack_scaled(const std::byte* block, std::int64_t depth, std::byte* unpacked) {
    const int groups = static_cast<int>(depth) / PackedForm::kGroupDepth;
    const int count = groups * PackedForm::kOutputs;
    const std::byte* scales = block + groups * Tile::Codes4::kGroupBytes;
    std::byte* factors = unpacked + groups * Tile::Codes8::kGroupBytes;
    std::int8_t multiples[PackedForm::kBlockDepth / PackedForm::kGroupDepth * PackedForm::kOutputs];
    for (int group = 0; group < groups; group += PackedForm::kRunGroups) {
      const int rest = groups - group, at = group * PackedForm::kOutputs;
      split_scales(reinterpret_cast<const std::int8_t*>(scales + at),
                   rest < PackedForm::kRunGroups ? rest : PackedForm::kRunGroups, multiples + at,
                   reinterpret_cast<std::int8_t*>(factors + at));
    }
    for (int group = 0; group < groups; ++group) {
      const Ints multiple = V::load_code_scales(
          reinterpret_cast<const std::byte*>(multiples + group * PackedForm::kOutputs));
      ERNIE_IMAGE_UNROLL
      for (int step = 0; step < Tile::kSteps; ++step)
        V::store_ints(unpacked + step * PackedForm::kStepBytes,
                      V::scale_codes(Tile::Codes4::load(block, step, 0), multiple));
      block += Tile::Codes4::kGroupBytes;
      unpacked += Tile::Codes8::kGroupBytes;
    }
    __builtin_memcpy(unpacked + count, scales + count, PackedForm::kStepBytes);
  }

  static void unpack(const std::byte* block, std::int64_t depth, std::byte* unpacked) {
    const int groups = static_cast<int>(depth) / PackedForm::kGroupDepth;
    for (int group = 0; group < groups; ++group) {
      ERNIE_IMAGE_UNROLL
      for (int step = 0; step < Tile::kSteps; ++step) {
        ERNIE_IMAGE_UNROLL
        for (int c = 0; c < Tile::kVectors; ++c)
          V::store_ints(unpacked + step * PackedForm::kStepBytes + c * kVectorBytes,
                        Tile::Codes4::load(block, step, c));
      }
      block += Tile::Codes4::kGroupBytes;
      unpacked += Tile::Codes8::kGroupBytes;
    }
    __builtin_memcpy(unpacked, block,
                     static_cast<unsigned>(groups * PackedForm::kOutputs + PackedForm::kStepBytes));
  }
};

template <class V>
PackedKernels make_packed_kernels() {
  using Tile = PackedTile<V, V::kPackedRows>;
  using Row = PackedRow<V>;
  using RowTile = PackedTile<V, 1>;
  constexpr bool kEachStep = V::kScalesEachStep;
  PackedKernels kernels;
  kernels.tile_rows = V::kPackedRows;
  kernels.quantize_row = ActivationQuantizer<V>::quantize_row;
  kernels.unpack_block = PackedUnpacker<V>::unpack;
  kernels.multiply_tile8 = Tile::template multiply<kEachStep>;
  kernels.multiply_tile4 = Tile::template multiply<false>;
  kernels.multiply_row8 = Row::template multiply<typename RowTile::Codes8, kEachStep>;
  kernels.multiply_row4 = Row::template multiply<typename RowTile::Codes4, false>;
  if constexpr (RowTile::kVectors == 1 && !kEachStep) {
    kernels.unpack_block = PackedUnpacker<V>::unpack_scaled;
    kernels.multiply_pair = PackedPair<V, V::kPackedRows>::multiply;
  }
  return kernels;
}

}  // namespace ernie_image
