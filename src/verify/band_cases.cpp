#include <array>
#include <vector>

#include "verify/conformance.h"
#include "verify/oracle.h"

namespace ernie_image::verify {
namespace {

constexpr int kGroups = 4;
constexpr float kEps = 1e-6f;
// f32: sums of 108 products, of values that the norm divided by a deviation of about 1/2. bf16: a
// normed value that went the other way changes the sums it enters, and some of those go the other
// way in turn.
constexpr Tolerance kFused = {.f32 = 8e-5f, .bf16_share = 0.05, .bf16_steps = 2.0f};

/// What a convolution does on the way.
struct Steps {
  bool norm;
  bool upsample;
  bool residual;
};

/// Who computes: the backend, or the composition that backend.h gives to all of them.
enum class By { backend, composition };

std::vector<Tensor> cut(const Tensor& x, const std::vector<std::int64_t>& heights) {
  const Tensor rows = x.reshaped({x.dim(0), x.dim(1), x.dim(2) * x.dim(3)});
  std::vector<Tensor> bands;
  std::int64_t top = 0;
  for (const std::int64_t height : heights) {
    bands.push_back(
        oracle::slice_rows(rows, top, height).reshaped({x.dim(0), height, x.dim(2), x.dim(3)}));
    top += height;
  }
  return bands;
}

/// A picture with a convolution and a norm for it.
struct Layer {
  explicit Layer(Verifier& v)
      : x(v.random({2, 21, 10, 12})),
        weight(v.random_f32({7, 12, 3, 3}, -1, 1)),
        bias(v.random_f32({7}, -1, 1)),
        norm_weight(v.random_f32({12}, 0.5f, 1.5f)),
        norm_bias(v.random_f32({12}, -1, 1)) {}

  /// The operations one by one, on the whole picture.
  Tensor expected(const Steps& steps, const Tensor& residual) const {
    Tensor y = x;
    if (steps.norm)
      y = oracle::group_norm(y, norm_weight, norm_bias, kGroups, kEps, Activation::silu);
    if (steps.upsample) y = oracle::upsample_nearest2x(y);
    y = oracle::conv2d(y, weight, bias);
    return steps.residual ? oracle::add(y, residual) : y;
  }

  Tensor x, weight, bias, norm_weight, norm_bias;
};

std::vector<Tensor> on_device(Verifier& v, const std::vector<Tensor>& bands) {
  std::vector<Tensor> uploaded;
  for (const Tensor& band : bands) uploaded.push_back(v.up(band));
  return uploaded;
}

void check(Verifier& v, const std::vector<std::int64_t>& heights, const Steps& steps,
           By by = By::backend) {
  const Layer layer(v);
  const std::int64_t scale = steps.upsample ? 2 : 1;
  const Tensor residual = v.random({2, scale * 21, scale * 10, 7});
  std::vector<std::int64_t> scaled = heights;
  for (std::int64_t& height : scaled) height *= scale;
  const std::vector<Tensor> bands = on_device(v, cut(layer.x, heights)),
                            residuals = on_device(v, cut(residual, scaled)),
                            expected = cut(layer.expected(steps, residual), scaled);
  const WeightHandle weight = v.prepare(layer.weight, WeightUse::conv2d),
                     bias = v.prepare(layer.bias), norm_weight = v.prepare(layer.norm_weight),
                     norm_bias = v.prepare(layer.norm_bias);
  Backend& ops = v.ops();
  const GroupStatistics statistics = by == By::composition
                                         ? ops.Backend::group_statistics(bands, kGroups, kEps)
                                         : ops.group_statistics(bands, kGroups, kEps);
  const ConvNorm norm = {statistics, *norm_weight, *norm_bias};
  for (std::size_t i = 0; i < bands.size(); ++i) {
    const ImageBand band = {bands[i], i > 0 ? &bands[i - 1] : nullptr,
                            i + 1 < bands.size() ? &bands[i + 1] : nullptr};
    const ConvFusion fusion = {.norm = steps.norm ? &norm : nullptr,
                               .upsample = steps.upsample,
                               .residual = steps.residual ? &residuals[i] : nullptr};
    v.expect_close(by == By::composition ? ops.Backend::conv2d_band(band, *weight, *bias, fusion)
                                         : ops.conv2d_band(band, *weight, *bias, fusion),
                   expected[i], kFused);
  }
}

void matches_the_operations_one_by_one(Verifier& v) {
  for (const bool norm : {false, true}) {
    for (const bool upsample : {false, true}) {
      for (const bool residual : {false, true}) check(v, {21}, {norm, upsample, residual});
    }
  }
}

void composed_of_other_operations_it_is_the_same(Verifier& v) {
  check(v, {21}, {true, false, true}, By::composition);
  check(v, {21}, {true, true, false}, By::composition);
}

/// A backend that does not take bands is given none.
void matches_the_whole_picture_wherever_it_is_cut(Verifier& v) {
  if (!v.ops().takes_bands()) return check(v, {21}, {true, false, true});
  for (const std::vector<std::int64_t>& heights :
       {std::vector<std::int64_t>{8, 8, 5}, {1, 20}, {20, 1}, {3, 1, 1, 16}}) {
    check(v, heights, {true, false, true});
    check(v, heights, {false, true, false});
  }
}

void takes_kernels_of_one_too(Verifier& v) {
  const Layer layer(v);
  const Tensor weight = v.random_f32({7, 12, 1, 1}, -1, 1);
  const Tensor residual = v.random({2, 21, 10, 7});
  const Tensor x = v.up(layer.x), added = v.up(residual);
  v.expect_close(v.ops().conv2d_band({x}, *v.prepare(weight, WeightUse::conv2d),
                                     *v.prepare(layer.bias), {.residual = &added}),
                 oracle::add(oracle::conv2d(layer.x, weight, layer.bias), residual), kFused);
}

void bands_of_two_convolutions_may_alternate(Verifier& v) {
  if (!v.ops().takes_bands()) return takes_kernels_of_one_too(v);
  const Layer layer(v);
  const Tensor other = v.random_f32({7, 12, 3, 3}, -1, 1);
  const std::vector<Tensor> bands = on_device(v, cut(layer.x, {8, 13}));
  const WeightHandle handles[] = {v.prepare(layer.weight, WeightUse::conv2d),
                                  v.prepare(other, WeightUse::conv2d)};
  const WeightHandle bias = v.prepare(layer.bias);
  const std::vector<Tensor> expected[] = {
      cut(oracle::conv2d(layer.x, layer.weight, layer.bias), {8, 13}),
      cut(oracle::conv2d(layer.x, other, layer.bias), {8, 13})};
  const ImageBand parts[] = {{bands[0], nullptr, &bands[1]}, {bands[1], &bands[0], nullptr}};
  for (std::size_t band = 0; band < 2; ++band) {
    for (std::size_t i = 0; i < 2; ++i) {
      v.expect_close(v.ops().conv2d_band(parts[band], *handles[i], *bias, {}), expected[i][band],
                     kFused);
    }
  }
}

/// A band ends before an even row, or with the picture.
void stride2_matches_the_whole_picture_wherever_it_is_cut(Verifier& v) {
  const Layer layer(v);
  const WeightHandle weight = v.prepare(layer.weight, WeightUse::conv2d),
                     bias = v.prepare(layer.bias);
  const Tensor expected = oracle::conv2d_stride2(layer.x, layer.weight, layer.bias);
  std::vector<std::vector<std::int64_t>> cuts = {{21}};
  if (v.ops().takes_bands()) cuts.insert(cuts.end(), {{8, 8, 5}, {2, 2, 17}, {18, 3}, {20, 1}});
  for (const std::vector<std::int64_t>& heights : cuts) {
    std::vector<std::int64_t> halved = heights;
    for (std::int64_t& height : halved) height /= 2;
    const std::vector<Tensor> bands = on_device(v, cut(layer.x, heights)),
                              parts = cut(expected, halved);
    for (std::size_t i = 0; i < bands.size(); ++i) {
      const ImageBand band = {bands[i], i > 0 ? &bands[i - 1] : nullptr,
                              i + 1 < bands.size() ? &bands[i + 1] : nullptr};
      v.expect_close(v.ops().conv2d_stride2(band, *weight, *bias), parts[i], kFused);
    }
  }
}

/// What a backend keeps of a filter from band to band is of one of the two.
void stride1_and_stride2_of_one_filter_may_alternate(Verifier& v) {
  if (!v.ops().takes_bands()) return stride2_matches_the_whole_picture_wherever_it_is_cut(v);
  const Layer layer(v);
  const std::vector<Tensor> bands = on_device(v, cut(layer.x, {8, 13}));
  const WeightHandle weight = v.prepare(layer.weight, WeightUse::conv2d),
                     bias = v.prepare(layer.bias);
  const std::vector<Tensor> whole = cut(oracle::conv2d(layer.x, layer.weight, layer.bias), {8, 13}),
                            halved = cut(oracle::conv2d_stride2(layer.x, layer.weight, layer.bias),
                                         {4, 6});
  const ImageBand parts[] = {{bands[0], nullptr, &bands[1]}, {bands[1], &bands[0], nullptr}};
  for (std::size_t i = 0; i < 2; ++i) {
    v.expect_close(v.ops().conv2d_stride2(parts[i], *weight, *bias), halved[i], kFused);
    v.expect_close(v.ops().conv2d_band(parts[i], *weight, *bias, {}), whole[i], kFused);
  }
}

constexpr std::array kCases = {
    ConformanceCase{"conv2d_band", "MatchesTheOperationsOneByOne",
                    matches_the_operations_one_by_one},
    ConformanceCase{"conv2d_band", "ComposedOfOtherOperationsItIsTheSame",
                    composed_of_other_operations_it_is_the_same},
    ConformanceCase{"conv2d_band", "MatchesTheWholePictureWhereverItIsCut",
                    matches_the_whole_picture_wherever_it_is_cut},
    ConformanceCase{"conv2d_band", "TakesKernelsOfOneToo", takes_kernels_of_one_too},
    ConformanceCase{"conv2d_band", "BandsOfTwoConvolutionsMayAlternate",
                    bands_of_two_convolutions_may_alternate},
    ConformanceCase{"conv2d_stride2", "MatchesTheWholePictureWhereverItIsCut",
                    stride2_matches_the_whole_picture_wherever_it_is_cut},
    ConformanceCase{"conv2d_stride2", "MayAlternateWithStrideOneOfTheSameFilter",
                    stride1_and_stride2_of_one_filter_may_alternate},
};

}  // namespace

std::span<const ConformanceCase> band_cases() { return kCases; }

}  // namespace ernie_image::verify
