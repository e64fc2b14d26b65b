#include <array>
#include <vector>

#include "verify/conformance.h"
#include "verify/oracle.h"

namespace ernie_image::verify {
namespace {

// Sums of K products of numbers up to 1: float rounds each partial sum, of size sqrt(K), by 2^-24
// of itself, K times in random directions. At K = 600 that is about 4e-5 at worst; blocked and
// vectorised sums are better.
constexpr Tolerance kSums = {.f32 = 4e-5f};
// The same at K = 4096, with partial sums of up to 60 and seven times as many of them.
constexpr Tolerance kLongSums = {.f32 = 2e-4f};

/// f32 values as a file of that dtype would hold them.
Tensor stored_as(const Tensor& values, DType dtype) {
  if (dtype != DType::f16) return round_to(values, dtype);
  Tensor half = Tensor::host(DType::f16, values.shape());
  for (std::int64_t i = 0; i < values.size(); ++i) {
    // Multiples of 1/16 up to 1 in size, which f16 has exactly: sign, exponent of 1, mantissa 10.
    const int sixteenths = static_cast<int>(values.data<float>()[i] * 16.0f);
    const int size = sixteenths < 0 ? -sixteenths : sixteenths;
    int exponent = 15, mantissa = size * 64;  // size / 16 = mantissa / 1024
    for (; size != 0 && mantissa < 1024; mantissa *= 2) --exponent;
    const int bits =
        (sixteenths < 0 ? 0x8000 : 0) | (size == 0 ? 0 : exponent << 10 | (mantissa & 1023));
    half.data<std::uint16_t>()[i] = static_cast<std::uint16_t>(bits);
  }
  return half;
}

void check(Verifier& v, std::int64_t rows, std::int64_t depth, std::int64_t columns,
           DType weight_dtype, bool with_bias, const Tolerance& tolerance = kSums) {
  const Tensor x = v.random({rows, depth});
  const Tensor w = stored_as(v.random_f32({columns, depth}, -1, 1), weight_dtype);
  const Tensor bias = with_bias ? v.random_f32({columns}, -1, 1) : Tensor();
  const WeightHandle weight = v.prepare(w, WeightUse::linear);
  const WeightHandle bias_handle = with_bias ? v.prepare(bias) : nullptr;
  v.expect_close(v.ops().linear(v.up(x), *weight, bias_handle.get()), oracle::linear(x, w, bias),
                 tolerance);
}

void matches_at_every_weight_dtype(Verifier& v) {
  for (const DType weight : {DType::f32, DType::f16, DType::bf16}) {
    for (const bool bias : {false, true}) {
      check(v, 1, 96, 80, weight, bias);
      check(v, 48, 96, 80, weight, bias);
    }
  }
}

void matches_for_every_small_row_count(Verifier& v) {
  for (std::int64_t rows = 1; rows <= 26; ++rows)
    check(v, rows, 70, 37, DType::bf16, rows % 2 == 0);
}

void matches_at_odd_sizes(Verifier& v) {
  for (const std::int64_t size : {1, 2, 3, 5, 7, 15, 17, 31, 33, 63, 65}) {
    check(v, 13, size, 9, DType::bf16, false);
    check(v, 13, 9, size, DType::bf16, true);
    check(v, 2, size, 9, DType::f16, false);
    check(v, 2, 9, size, DType::f32, true);
  }
}

void matches_across_blocks_of_depth_rows_and_columns(Verifier& v) {
  check(v, 30, 257, 300, DType::bf16, true);
  check(v, 30, 512, 20, DType::f16, false);
  check(v, 30, 600, 257, DType::f32, true);
  check(v, 1, 600, 257, DType::bf16, true);
}

void matches_at_the_widths_of_the_model(Verifier& v) {
  check(v, 9, 4096, 512, DType::bf16, false, kLongSums);
  check(v, 1, 3072, 512, DType::bf16, false, kLongSums);
  check(v, 40, 128, 1024, DType::bf16, true);
}

void keeps_leading_axes(Verifier& v) {
  const Tensor x = v.random({2, 3, 40});
  const Tensor w = v.random_f32({5, 40}, -1, 1);
  v.expect_close(v.ops().linear(v.up(x), *v.prepare(w, WeightUse::linear)), oracle::linear(x, w),
                 kSums);
}

void of_no_rows_is_empty(Verifier& v) {
  const WeightHandle weight = v.prepare(v.random_f32({5, 40}, -1, 1), WeightUse::linear);
  v.expect(v.ops().linear(v.ops().empty(v.dtype(), {0, 40}), *weight).shape() == Shape{0, 5},
           "no rows in, but rows out");
}

void together_is_the_same_as_apart(Verifier& v) {
  for (const std::int64_t rows : {1, 29}) {
    const Tensor x = v.random({rows, 130});
    std::vector<WeightHandle> weights;
    for (const std::int64_t columns : {96, 32, 17})
      weights.push_back(v.prepare(v.random_f32({columns, 130}, -1, 1), WeightUse::linear));
    const std::vector<Tensor> together =
        v.ops().linear_together(v.up(x), {weights[0].get(), weights[1].get(), weights[2].get()});
    v.expect(together.size() == 3, "three weights did not give three results");
    for (std::size_t i = 0; i < together.size(); ++i)
      v.expect_close(together[i], v.ops().download(v.ops().linear(v.up(x), *weights[i])), kExact);
  }
}

/// Of weights and activations of 8 bits each: twice what the processor's own are allowed for a call
/// of the transformer (docs/numerics.md). Of even distribution a number is off by 1/127 / sqrt(12),
/// 1.6e-5 of its square, on both sides; of a normal one, with scales for rows of 4096, 1e-4 each.
constexpr double kInt8Nmse = 2.6e-4;

/// Sums of four: most of them are far from the largest.
Tensor humped(Verifier& v, const Shape& shape, float magnitude) {
  Tensor sum = v.random_f32(shape, -magnitude, magnitude);
  for (int i = 0; i < 3; ++i) {
    const Tensor more = v.random_f32(shape, -magnitude, magnitude);
    for (std::int64_t k = 0; k < sum.size(); ++k) sum.data<float>()[k] += more.data<float>()[k];
  }
  return sum;
}

void check_int8(Verifier& v, std::int64_t rows, std::int64_t depth, std::int64_t columns,
                DType stored = DType::bf16, bool with_bias = false) {
  const Tensor x = round_to(humped(v, {rows, depth}, 3), v.dtype());
  const Tensor w = round_to(humped(v, {columns, depth}, 0.1f), stored);
  const Tensor bias = with_bias ? v.random_f32({columns}, -1, 1) : Tensor();
  const WeightHandle weight = v.prepare(w, WeightUse::linear, Quantization::int8);
  const WeightHandle bias_handle = with_bias ? v.prepare(bias) : nullptr;
  v.expect_near(v.ops().linear(v.up(x), *weight, bias_handle.get()), oracle::linear(x, w, bias),
                kInt8Nmse);
}

void of_int8_stays_near(Verifier& v) {
  check_int8(v, 1, 96, 80);
  check_int8(v, 48, 512, 80, DType::f32, true);
  check_int8(v, 9, 4096, 64);
  for (const std::int64_t odd : {1, 5, 31, 33, 65}) check_int8(v, 13, odd, 9);
  check_int8(v, 2, 257, 31, DType::bf16, true);
  const WeightHandle weight =
      v.prepare(v.random_f32({5, 40}, -1, 1), WeightUse::linear, Quantization::int8);
  v.expect(v.ops().linear(v.ops().empty(v.dtype(), {0, 40}), *weight).shape() == Shape{0, 5},
           "no rows in, but rows out");
  const Tensor zeros = v.constant({3, 40}, 0), result = v.constant({3, 5}, 0);
  v.expect_close(v.ops().linear(v.up(zeros), *weight), result, kExact);
}

void together_int8_beside_plain_is_the_same_as_apart(Verifier& v) {
  const Tensor x = v.random({2, 7, 96});
  std::vector<WeightHandle> weights;
  for (const Quantization quantization :
       {Quantization::int8, Quantization::none, Quantization::int8}) {
    weights.push_back(v.prepare(v.random_f32({40, 96}, -1, 1), WeightUse::linear, quantization));
  }
  const std::vector<Tensor> together =
      v.ops().linear_together(v.up(x), {weights[0].get(), weights[1].get(), weights[2].get()});
  for (std::size_t i = 0; i < together.size(); ++i)
    v.expect_close(together[i], v.ops().download(v.ops().linear(v.up(x), *weights[i])), kExact);
}

// Sums as above, a few of them added up. In bf16 three numbers are rounded before the result is,
// each of which may go the other way, and a step of a large one is many of a small result.
constexpr Tolerance kTermsAdded = {.f32 = 2e-4f, .bf16_share = 0.02, .bf16_steps = 8.0f};

/// A layer with terms of these ranks, and what it gives in double.
struct TermCase {
  Tensor w, bias;
  std::vector<Tensor> downs, ups;

  TermCase(Verifier& v, std::int64_t depth, std::int64_t columns, DType stored, bool with_bias,
           const std::vector<std::int64_t>& ranks)
      : w(stored_as(v.random_f32({columns, depth}, -1, 1), stored)),
        bias(with_bias ? v.random_f32({columns}, -1, 1) : Tensor()) {
    for (const std::int64_t rank : ranks) {
      downs.push_back(stored_as(v.random_f32({rank, depth}, -0.5f, 0.5f), stored));
      ups.push_back(stored_as(v.random_f32({columns, rank}, -0.5f, 0.5f), stored));
    }
  }

  Tensor expected(const Tensor& x) const {
    Tensor y = oracle::linear(x, w, bias);
    for (std::size_t i = 0; i < downs.size(); ++i)
      y = oracle::add(y, oracle::linear(oracle::linear(x, downs[i]), ups[i]));
    return y;
  }
};

/// What a device is given of one, kept alive.
struct PreparedTerms {
  WeightHandle weight, bias;
  std::vector<WeightHandle> downs, ups;

  PreparedTerms(Verifier& v, const TermCase& c, Quantization quantization = Quantization::none)
      : weight(v.prepare(c.w, WeightUse::linear, quantization)),
        bias(c.bias.empty() ? nullptr : v.prepare(c.bias)) {
    for (const Tensor& down : c.downs) downs.push_back(v.prepare(down, WeightUse::linear));
    for (const Tensor& up : c.ups) ups.push_back(v.prepare(up, WeightUse::linear));
  }

  LinearWithTerms layer() const {
    LinearWithTerms layer{weight.get(), bias.get()};
    for (std::size_t i = 0; i < downs.size(); ++i)
      layer.terms.push_back({downs[i].get(), ups[i].get()});
    return layer;
  }
};

void terms_are_added_to_layers_that_share_x(Verifier& v) {
  for (const std::int64_t rows : {1, 3, 8, 9, 29, 70}) {
    for (const DType stored : {DType::f32, DType::bf16}) {
      const Tensor x = v.random({rows, 130});
      const TermCase a(v, 130, 96, stored, false, {16}), b(v, 130, 37, stored, true, {1, 20}),
          c(v, 130, 200, stored, false, {});
      const PreparedTerms pa(v, a), pb(v, b), pc(v, c);
      const std::vector<LinearWithTerms> layers = {pa.layer(), pb.layer(), pc.layer()};
      const std::vector<Tensor> y = v.ops().linear_with_terms(v.up(x), layers);
      v.expect(y.size() == 3, "three layers did not give three results");
      v.expect_close(y[0], a.expected(x), kTermsAdded);
      v.expect_close(y[1], b.expected(x), kTermsAdded);
      v.expect_close(y[2], c.expected(x), kTermsAdded);
    }
  }
}

void terms_are_added_across_blocks(Verifier& v) {
  const Tensor x = v.random({2, 65, 1030});
  const TermCase c(v, 1030, 300, DType::bf16, true, {33});
  const PreparedTerms prepared(v, c);
  v.expect_close(v.ops().linear_with_terms(v.up(x), std::vector{prepared.layer()}).at(0),
                 c.expected(x), kTermsAdded);
}

/// Beside a weight in few bits: what the term adds is exact, whatever the weight's own product is.
void terms_are_added_to_int8(Verifier& v) {
  for (const std::int64_t rows : {1, 2, 31}) {
    const Tensor x = v.random({rows, 96});
    const TermCase c(v, 96, 72, DType::f32, true, {6, 5});
    const PreparedTerms prepared(v, c, Quantization::int8);
    const Tensor given = v.up(x);
    Tensor y = v.ops().linear(given, *prepared.weight, prepared.bias.get());
    for (std::size_t i = 0; i < c.downs.size(); ++i) {
      const Tensor narrow = v.ops().linear(given, *prepared.downs[i]);
      y = v.ops().add(y, v.ops().linear(narrow, *prepared.ups[i]));
    }
    v.expect_close(v.ops().linear_with_terms(given, std::vector{prepared.layer()}).at(0),
                   v.ops().download(y), kTermsAdded);
  }
}

void terms_of_no_rows_are_empty(Verifier& v) {
  const TermCase c(v, 40, 5, DType::f32, false, {4});
  const PreparedTerms prepared(v, c);
  const Tensor none = v.ops().empty(v.dtype(), {0, 40});
  v.expect(
      v.ops().linear_with_terms(none, std::vector{prepared.layer()}).at(0).shape() == Shape{0, 5},
      "no rows in, but rows out");
}

void embedding_picks_and_converts_rows(Verifier& v) {
  const std::vector<std::int32_t> ids = {3, 0, 10, 3};
  for (const std::int64_t width : {5, 64, 100, 3072}) {
    for (const DType stored : {DType::f32, DType::f16, DType::bf16}) {
      const Tensor table = stored_as(v.random_f32({11, width}, -1, 1), stored);
      const WeightHandle handle = v.prepare(table, WeightUse::embedding);
      v.expect_close(v.ops().embedding(ids, *handle, v.dtype()),
                     oracle::embedding(ids, table, v.dtype()), kExact);
    }
  }
}

constexpr std::array kCases = {
    ConformanceCase{"linear", "MatchesAtEveryWeightDType", matches_at_every_weight_dtype},
    ConformanceCase{"linear", "MatchesForEverySmallRowCount", matches_for_every_small_row_count},
    ConformanceCase{"linear", "MatchesAtOddSizes", matches_at_odd_sizes},
    ConformanceCase{"linear", "MatchesAcrossBlocksOfDepthRowsAndColumns",
                    matches_across_blocks_of_depth_rows_and_columns},
    ConformanceCase{"linear", "MatchesAtTheWidthsOfTheModel", matches_at_the_widths_of_the_model},
    ConformanceCase{"linear", "KeepsLeadingAxes", keeps_leading_axes},
    ConformanceCase{"linear", "OfNoRowsIsEmpty", of_no_rows_is_empty},
    ConformanceCase{"linear", "OfInt8StaysNear", of_int8_stays_near},
    ConformanceCase{"linear_together", "IsTheSameAsApart", together_is_the_same_as_apart},
    ConformanceCase{"linear_together", "OfInt8BesidePlainIsTheSameAsApart",
                    together_int8_beside_plain_is_the_same_as_apart},
    ConformanceCase{"linear_with_terms", "AddsToLayersThatShareX",
                    terms_are_added_to_layers_that_share_x},
    ConformanceCase{"linear_with_terms", "AddsAcrossBlocks", terms_are_added_across_blocks},
    ConformanceCase{"linear_with_terms", "AddsToInt8", terms_are_added_to_int8},
    ConformanceCase{"linear_with_terms", "OfNoRowsIsEmpty", terms_of_no_rows_are_empty},
    ConformanceCase{"embedding", "PicksAndConvertsRows", embedding_picks_and_converts_rows},
};

}  // namespace

std::span<const ConformanceCase> linear_cases() { return kCases; }

}  // namespace ernie_image::verify
