// Quantised linear layers against integer sums and double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "backend/cpu/prepared_weight.h"
#include "core/half.h"
#include "core/packed_weight.h"
#include "ernie_image/error.h"
#include "op_test.h"

namespace ernie_image {
namespace {

/// Packed bytes [N, K] that a product can be formed with, aligned as a file has to hold them.
class PackedFile {
 public:
  PackedFile(WeightFormat format, Shape shape)
      : layout_(format, shape),
        bytes_(Tensor::host(DType::i8, {static_cast<std::int64_t>(layout_.size_bytes())})) {
    weight_ = {"packed",
               DType::i8,
               std::move(shape),
               bytes_.bytes(),
               std::make_shared<Tensor>(bytes_),
               format,
               layout_.size_bytes()};
  }

  /// Quantises `values` [N, K].
  PackedFile(WeightFormat format, const Tensor& values) : PackedFile(format, values.shape()) {
    const Weight plain{"plain", DType::f32, values.shape(), values.bytes(), nullptr};
    for (std::int64_t panel = 0; panel < layout_.panels; ++panel)
      pack_panel(layout_, plain, panel, record(panel * 16));
  }

  const Weight& weight() const { return weight_; }
  const PackedLayout& layout() const { return layout_; }

  std::byte* record(std::int64_t n) const {
    return bytes_.bytes() + static_cast<std::size_t>(n / 16) * layout_.record_bytes();
  }
  std::byte* block(std::int64_t n, std::int64_t k) const {
    return record(n) + static_cast<std::size_t>(k / 256) * layout_.block_bytes(256);
  }
  std::int64_t block_depth(std::int64_t k) const {
    return std::min<std::int64_t>(256, layout_.depth - k / 256 * 256);
  }
  int code(std::int64_t n, std::int64_t k) const {
    const std::int64_t step = k % 256 / 4, lane = n % 16 * 4 + k % 4;
    if (layout_.format == WeightFormat::packed_int8)
      return static_cast<std::int8_t>(block(n, k)[step * 64 + lane]);
    const int pair = static_cast<std::uint8_t>(block(n, k)[step / 2 * 64 + lane]);
    return (step % 2 == 0 ? pair & 15 : pair >> 4) - 8;
  }
  void set_code(std::int64_t n, std::int64_t k, int code) const {
    const std::int64_t step = k % 256 / 4, lane = n % 16 * 4 + k % 4;
    if (layout_.format == WeightFormat::packed_int8) {
      block(n, k)[step * 64 + lane] = static_cast<std::byte>(code);
      return;
    }
    std::byte& pair = block(n, k)[step / 2 * 64 + lane];
    const int shift = step % 2 == 0 ? 0 : 4;
    pair = (pair & static_cast<std::byte>(0xf0 >> shift)) |
           static_cast<std::byte>((code + 8) << shift);
  }
  std::int8_t& scale(std::int64_t n, std::int64_t k) const {
    const std::size_t codes = layout_.code_bytes(block_depth(k));
    return reinterpret_cast<std::int8_t&>(
        block(n, k)[codes + static_cast<std::size_t>(k % 256 / 32 * 16 + n % 16)]);
  }
  void set_sums() const {
    for (std::int64_t n = 0; n < layout_.panels * 16; ++n) {
      for (std::int64_t begin = 0; begin < layout_.depth; begin += 256) {
        std::int32_t sum = 0;
        for (std::int64_t k = begin; k < begin + block_depth(begin); ++k)
          sum += scale(n, k) * code(n, k);
        std::memcpy(block(n, begin) + layout_.block_bytes(block_depth(begin)) - 64 + n % 16 * 4,
                    &sum, sizeof(sum));
      }
    }
  }
  float& row_scale(std::int64_t n) const {
    return reinterpret_cast<float*>(record(n) + layout_.row_scale_offset())[n % 16];
  }

 private:
  PackedLayout layout_;
  Tensor bytes_;
  Weight weight_;
};

/// A row of whole numbers of activations as the kernels are to round it. Sums of whole numbers are
/// exact, so the order of the transform's additions does not matter.
struct QuantizedRow {
  QuantizedRow(const PackedLayout& layout, const float* x)
      : codes(static_cast<std::size_t>(layout.depth)) {
    std::vector<float> row(codes.size());
    std::copy_n(x, layout.inputs, row.data());
    const std::int64_t width = layout.rotation;
    for (std::int64_t half = 1; half < width; half *= 2) {
      for (std::int64_t i = 0; i < layout.inputs; ++i) {
        if ((i & half) != 0) continue;
        float &low = row[static_cast<std::size_t>(i)],
              &high = row[static_cast<std::size_t>(i + half)];
        const float sum = low + high;
        high = low - high;
        low = sum;
      }
    }
    const float norm = 1.0f / std::sqrt(static_cast<float>(width));
    for (std::size_t begin = 0; begin < row.size(); begin += 256) {
      const std::size_t end = std::min<std::size_t>(begin + 256, row.size());
      float largest = 0;
      for (std::size_t k = begin; k < end; ++k) largest = std::max(largest, std::abs(row[k]));
      const float inverse = largest > 0 ? 118.0f / largest : 0.0f;
      for (std::size_t k = begin; k < end; ++k)
        codes[k] = static_cast<int>(std::nearbyint(row[k] * inverse));
      scales.push_back(largest / 118.0f * norm);
    }
  }

  std::vector<int> codes;
  std::vector<float> scales;
};

/// Row scale * sum over blocks of scale * (integer sum), and the sum of the magnitudes of its
/// terms.
std::pair<double, double> expected_value(const PackedFile& file, const QuantizedRow& row,
                                         std::int64_t n) {
  double sum = 0, magnitude = 0;
  for (std::int64_t begin = 0; begin < file.layout().depth; begin += 256) {
    std::int64_t total = 0;
    for (std::int64_t k = begin; k < begin + file.block_depth(begin); ++k)
      total +=
          std::int64_t{row.codes[static_cast<std::size_t>(k)]} * file.scale(n, k) * file.code(n, k);
    const double term = static_cast<double>(row.scales[static_cast<std::size_t>(begin / 256)]) *
                        static_cast<double>(total) * file.row_scale(n);
    sum += term;
    magnitude += std::abs(term);
  }
  return {sum, magnitude};
}

class PackedLinear : public OpTest {
 protected:
  /// Whole numbers up to 100, which bf16 holds too.
  Tensor whole_numbers(Shape shape) {
    Tensor x = random_f32(std::move(shape), -100, 100);
    for (float& value : x.span<float>()) value = std::nearbyint(value);
    return x;
  }

  Tensor multiply(const Tensor& x, const PackedFile& file, const PreparedWeight* bias = nullptr) {
    const WeightHandle weight = ops().prepare(file.weight(), WeightUse::linear);
    return ops().download(ops().linear(ops().upload(x), *weight, bias));
  }

  /// x: whole numbers in f32. Integer sums are exact; what is left are conversions to float of sums
  /// beyond 2^24, the sums over blocks, the row scale and the bias: less than 2^-21 of the terms;
  /// and the rounding of bf16 results.
  void check(const Tensor& x, const PackedFile& file, const Tensor& bias = {}) {
    const WeightHandle handle = bias.empty() ? nullptr : prepare(bias);
    const Tensor y = to_float(multiply(round_to(x, dtype()), file, handle.get()));
    const std::int64_t rows = x.dim(0), depth = x.dim(1), columns = file.layout().outputs;
    for (std::int64_t m = 0; m < rows; ++m) {
      const QuantizedRow row(file.layout(), x.data<float>() + m * depth);
      for (std::int64_t n = 0; n < columns; ++n) {
        auto [expected, magnitude] = expected_value(file, row, n);
        if (!bias.empty()) expected += bias.data<float>()[n];
        const double rounding = dtype() == DType::bf16 ? 0x1p-8 : 0x1p-23;
        const double limit = 0x1p-21 * magnitude + rounding * std::abs(expected) + 1e-30;
        ASSERT_NEAR(y.data<float>()[m * columns + n], expected, limit)
            << rows << " x " << depth << " x " << columns << ", " << m << " " << n;
      }
    }
  }
};

constexpr WeightFormat kFormats[] = {WeightFormat::packed_int8, WeightFormat::packed_int4};

TEST_P(PackedLinear, MatchesAtOddSizes) {
  for (const WeightFormat format : kFormats) {
    for (const std::int64_t depth : {1, 31, 50, 64, 96, 192, 256, 300, 576, 1056, 1344, 2080})
      check(whole_numbers({7, depth}), PackedFile(format, random_f32({35, depth}, -1, 1)));
    for (const std::int64_t columns : {1, 15, 16, 17, 130, 257})
      check(whole_numbers({3, 320}), PackedFile(format, random_f32({columns, 320}, -1, 1)));
    for (const std::int64_t rows : {1, 2, 5, 6, 7, 12, 13, 25, 100})
      check(whole_numbers({rows, 160}), PackedFile(format, random_f32({33, 160}, -1, 1)));
  }
}

/// Every code at its limit, in every combination of signs, against activations of 0 and 236 of 236.
TEST_P(PackedLinear, IsExactAtTheLimits) {
  constexpr std::int64_t kDepth = 1055;  // not rotated, and with a last block of a group and a bit
  constexpr std::pair<int, int> kPairs8[] = {{69, 69},    {127, 11},   {11, 127},   {-69, -69},
                                             {-127, -11}, {-11, -127}, {127, -127}, {-127, 127}};
  constexpr std::pair<int, int> kPairs4[] = {{7, 7}, {-8, -8}, {7, -8}, {-8, 7}};
  for (const WeightFormat format : kFormats) {
    const std::span<const std::pair<int, int>> pairs =
        format == WeightFormat::packed_int8 ? std::span<const std::pair<int, int>>(kPairs8)
                                            : std::span<const std::pair<int, int>>(kPairs4);
    const PackedFile file(format, Shape{32, kDepth});
    for (std::int64_t n = 0; n < 32; ++n) {
      const auto [even, odd] = pairs[static_cast<std::size_t>(n) % pairs.size()];
      for (std::int64_t k = 0; k < file.layout().depth; ++k) {
        file.set_code(n, k, k % 2 == 0 ? even : odd);
        file.scale(n, k) = static_cast<std::int8_t>(n % 3 == 0 ? -127 : 127);
      }
      file.row_scale(n) = 0.01f;
    }
    file.set_sums();
    Tensor x = Tensor::host(DType::f32, {9, kDepth});
    for (std::int64_t m = 0; m < 9; ++m) {
      for (std::int64_t k = 0; k < kDepth; ++k) {
        const bool negative =
            m == 1 || (m == 2 && k % 2 == 0) || (m > 2 && (k * m + k / 7) % 3 == 0);
        x.data<float>()[m * kDepth + k] = negative ? -3.0f : 3.0f;
      }
    }
    check(x, file);
    check(x.slice(0, 1), file);
  }
}

/// Files may hold any scales: those that older programs wrote differ in every group. Panels side by
/// side have runs of 32 to 256 with one scale, and multiples of a factor that fit and do not.
TEST_P(PackedLinear, MultipliesByScalesOfEveryForm) {
  constexpr std::int64_t kDepth = 352;  // a block, and one of three groups
  for (const WeightFormat format : kFormats) {
    for (const auto& [run, factor] : {std::pair{32, 7}, {64, 8}, {128, 1}, {256, 7}}) {
      const PackedFile file(format, random_f32({40, kDepth}, -1, 1));
      for (std::int64_t n = 0; n < file.layout().panels * 16; ++n) {
        for (std::int64_t k = 0; k < file.layout().depth; ++k) {
          const auto part = static_cast<int>(k / 256 * 8 + k % 256 / run);
          const int multiple = static_cast<int>(n * 5 + part * 11) % 31 - 15;
          const bool fits = n != 20 || run != 32;
          file.scale(n, k) = static_cast<std::int8_t>(fits ? multiple * factor : multiple * 8 + 1);
        }
      }
      file.set_sums();
      check(whole_numbers({13, kDepth}), file);
      check(whole_numbers({1, kDepth}), file);
    }
  }
}

TEST_P(PackedLinear, DoesNotShowHowManyRowsThereAre) {
  for (const WeightFormat format : kFormats) {
    const PackedFile file(format, random_f32({70, 1344}, -1, 1));
    const Tensor x = random({38, 1344});
    const Tensor all = multiply(x, file);
    for (const std::int64_t count : {1, 2, 5, 9}) {
      SCOPED_TRACE(count);
      expect_close(multiply(x.slice(3, count), file), all.slice(3, count), kExact);
    }
  }
}

TEST_P(PackedLinear, DoesNotShowHowManyThreadsThereAre) {
  const auto alone = make_cpu_backend({.num_threads = 1, .kernels = std::get<0>(GetParam())});
  for (const WeightFormat format : kFormats) {
    const Tensor values = random_f32({150, 300}, -1, 1);
    const Weight plain{"w", DType::f32, values.shape(), values.bytes(), nullptr};
    const auto quantization =
        format == WeightFormat::packed_int8 ? Quantization::int8 : Quantization::int4;
    const Tensor x = random({130, 300});
    const WeightHandle one = alone->prepare(plain, WeightUse::linear, quantization);
    const WeightHandle three = ops().prepare(plain, WeightUse::linear, quantization);
    expect_close(ops().linear(x, *three), alone->linear(x, *one), kExact);
    // And quantising while loading is the same as before.
    expect_close(ops().linear(x, *three), multiply(x, PackedFile(format, values)), kExact);
  }
}

TEST_P(PackedLinear, AddsTheBias) {
  const PackedFile file(WeightFormat::packed_int8, random_f32({35, 64}, -1, 1));
  for (const std::int64_t rows : {1, 9})
    check(whole_numbers({rows, 64}), file, random_f32({35}, -1000, 1000));
}

TEST_P(PackedLinear, TogetherIsTheSameAsApart) {
  const Tensor a = random_f32({40, 192}, -1, 1), b = random_f32({70, 192}, -1, 1);
  const WeightHandle plain = prepare(a, WeightUse::linear);
  const PackedFile int8(WeightFormat::packed_int8, b), int4(WeightFormat::packed_int4, a);
  const WeightHandle q8 = ops().prepare(int8.weight(), WeightUse::linear);
  const WeightHandle q4 = ops().prepare(int4.weight(), WeightUse::linear);
  for (const std::int64_t rows : {1, 20}) {
    const Tensor x = random({rows, 192});
    const std::vector<Tensor> y = ops().linear_together(x, {q8.get(), plain.get(), q4.get()});
    expect_close(y[0], ops().linear(x, *q8), kExact);
    expect_close(y[1], ops().linear(x, *plain), kExact);
    expect_close(y[2], ops().linear(x, *q4), kExact);
  }
}

TEST_P(PackedLinear, ShowsNumbersThatAreNotFinite) {
  for (const WeightFormat format : kFormats) {
    for (const std::int64_t depth : {50, 320}) {
      const PackedFile file(format, random_f32({20, depth}, 0.5f, 1));
      Tensor x = random_f32({14, depth}, -1, 1);
      x.data<float>()[4 * depth + 33] = INFINITY;
      x.data<float>()[5 * depth + 7] = -INFINITY;
      x.data<float>()[9 * depth + depth - 1] = NAN;
      x = round_to(x, dtype());
      const Tensor y = to_float(multiply(x, file));
      for (std::int64_t i = 0; i < y.size(); ++i) {
        const std::int64_t m = i / 20;
        EXPECT_EQ(std::isfinite(y.data<float>()[i]), m != 4 && m != 5 && m != 9) << m;
      }
      EXPECT_FALSE(std::isfinite(to_float(multiply(x.slice(9, 1), file)).data<float>()[0]));
    }
  }
}

TEST_P(PackedLinear, UsesPackedBytesWhereTheyLie) {
  const PackedFile file(WeightFormat::packed_int4, random_f32({40, 64}, -1, 1));
  for (const Quantization quantization : {Quantization::none, Quantization::int8}) {
    const WeightHandle handle = ops().prepare(file.weight(), WeightUse::linear, quantization);
    EXPECT_EQ(as_cpu_weight(*handle, WeightUse::linear).source.data, file.record(0));
    EXPECT_EQ(handle->shape(), (Shape{40, 64}));
  }
}

TEST_P(PackedLinear, RefusesPackedBytesThatDoNotFit) {
  const PackedFile file(WeightFormat::packed_int8, random_f32({40, 64}, -1, 1));
  const auto kind_of = [&](const Weight& weight, WeightUse use) {
    try {
      ops().prepare(weight, use);
    } catch (const Error& error) {
      return error.kind();
    }
    ADD_FAILURE() << "was not refused";
    return ErrorKind::invalid_argument;
  };
  Weight wrong = file.weight();
  wrong.packed_bytes -= 64;
  EXPECT_EQ(kind_of(wrong, WeightUse::linear), ErrorKind::corrupt_file);
  wrong = file.weight();
  wrong.shape = {41, 1 << 30};
  EXPECT_EQ(kind_of(wrong, WeightUse::linear), ErrorKind::corrupt_file);
  wrong = file.weight();
  wrong.format = WeightFormat::packed_int4;
  EXPECT_EQ(kind_of(wrong, WeightUse::linear), ErrorKind::corrupt_file);
  wrong = file.weight();
  wrong.data += 4;
  EXPECT_EQ(kind_of(wrong, WeightUse::linear), ErrorKind::corrupt_file);
  EXPECT_EQ(kind_of(file.weight(), WeightUse::embedding), ErrorKind::unsupported);
  EXPECT_EQ(kind_of(file.weight(), WeightUse::vector), ErrorKind::unsupported);
}

ERNIE_IMAGE_INSTANTIATE_OP_TEST(PackedLinear);

}  // namespace
}  // namespace ernie_image
