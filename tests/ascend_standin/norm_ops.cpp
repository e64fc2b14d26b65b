#include <algorithm>
#include <cmath>

#include "operation.h"

using namespace standin;

namespace {

struct Moments {
  double mean;
  double inverse_deviation;
};

Moments moments(const float* x, std::int64_t count, double eps) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(count);
  double squares = 0;
  for (std::int64_t i = 0; i < count; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {mean, 1 / std::sqrt(squares / static_cast<double>(count) + eps)};
}

/// Affine group norm of x [B, C, ...] with `groups` groups.
void normalize_groups(const aclTensor& x, const aclTensor& gamma, const aclTensor& beta,
                      const aclTensor& out, std::int64_t groups, double eps) {
  Values values = read(x);
  const Values scale = read(gamma);
  const Values shift = read(beta);
  const std::int64_t channels = x.dims[1];
  const std::int64_t pixels = element_count(x) / (x.dims[0] * channels);
  const std::int64_t size = channels / groups * pixels;
  for (std::int64_t begin = 0; begin < element_count(x); begin += size) {
    const Moments m = moments(values.data() + begin, size, eps);
    for (std::int64_t i = begin; i < begin + size; ++i) {
      const auto c = static_cast<std::size_t>(i / pixels % channels);
      float& value = values[static_cast<std::size_t>(i)];
      value = static_cast<float>((value - m.mean) * m.inverse_deviation * scale[c] + shift[c]);
    }
  }
  write(out, values);
}

void check_groups(Plan& plan, const aclTensor* x, const aclTensor* gamma, const aclTensor* beta,
                  std::int64_t groups, double eps, aclTensor* out, aclTensor* mean,
                  aclTensor* rstd) {
  plan.input(x, "self");
  plan.input(gamma, "gamma");
  plan.input(beta, "beta");
  plan.output(out, "out");
  plan.output(mean, "meanOut");
  plan.output(rstd, "rstdOut");
  if (plan.refused()) return;
  plan.require(x->dims.size() >= 2 && x->dims.size() <= 8, "self has a wrong rank");
  plan.require(eps > 0, "eps must be positive");
  if (plan.refused()) return;
  plan.require(groups > 0 && x->dims[1] % groups == 0, "channels do not divide by groups");
  plan.require(gamma->dims == std::vector{x->dims[1]} && beta->dims == gamma->dims,
               "gamma and beta must be [C]");
  const std::vector<std::int64_t> statistics = {x->dims[0], groups};
  plan.require(mean->dims == statistics && rstd->dims == statistics,
               "meanOut and rstdOut must be [N, group]");
  plan.require(out->dims == x->dims && out->dtype == x->dtype, "out must be like self");
  plan.require(mean->dtype == x->dtype && rstd->dtype == x->dtype,
               "meanOut and rstdOut must have the dtype of self");
}

}  // namespace

STANDIN_OPERATION(RmsNorm, const aclTensor* x, const aclTensor* gamma, double eps,
                  const aclTensor* out, const aclTensor* rstd) {
  Plan plan("aclnnRmsNorm");
  plan.input(x, "x");
  plan.input(gamma, "gamma");
  plan.output(out, "yOut");
  plan.output(rstd, "rstdOut");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  plan.require(gamma->dtype == ACL_FLOAT || gamma->dtype == x->dtype,
               "gamma must be FLOAT or of the dtype of x");
  plan.require(out->dtype == x->dtype && out->dims == x->dims, "yOut must be like x");
  plan.require(gamma->dims.size() == 1 && gamma->dims[0] == x->dims.back(),
               "gamma must be the last axis of x");
  std::vector<std::int64_t> statistics = x->dims;
  statistics.back() = 1;
  plan.require(rstd->dtype == ACL_FLOAT && rstd->dims == statistics,
               "rstdOut must be FLOAT, of the rank of x, with 1 for the normalised axis");
  return plan.finish(workspace_bytes, executor, [a = *x, g = *gamma, y = *out, r = *rstd, eps] {
    Values values = read(a);
    const Values scale = read(g);
    Values inverse;
    for (std::size_t row = 0; row < values.size(); row += scale.size()) {
      double squares = 0;
      for (std::size_t i = 0; i < scale.size(); ++i)
        squares += static_cast<double>(values[row + i]) * values[row + i];
      const double factor = 1 / std::sqrt(squares / static_cast<double>(scale.size()) + eps);
      inverse.push_back(static_cast<float>(factor));
      for (std::size_t i = 0; i < scale.size(); ++i)
        values[row + i] = static_cast<float>(values[row + i] * factor * scale[i]);
    }
    write(y, values);
    write(r, inverse);
  });
}

STANDIN_OPERATION(LayerNorm, const aclTensor* x, const aclIntArray* normalized_shape,
                  const aclTensor* weight, const aclTensor* bias, double eps, aclTensor* out,
                  aclTensor* mean, aclTensor* rstd) {
  Plan plan("aclnnLayerNorm");
  plan.require(normalized_shape != nullptr, "normalizedShape is null", kNullPointer);
  plan.input(x, "input");
  plan.output(out, "out");
  plan.require(weight == nullptr && bias == nullptr && mean == nullptr && rstd == nullptr,
               "the stand-in has no affine form and no statistics");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  plan.require(normalized_shape->values == std::vector{x->dims.back()},
               "normalizedShape must be the last axis");
  plan.require(out->dtype == x->dtype && out->dims == x->dims, "out must be like input");
  return plan.finish(workspace_bytes, executor, [a = *x, y = *out, eps] {
    Values values = read(a);
    const std::int64_t width = a.dims.back();
    for (std::int64_t row = 0; row < element_count(a); row += width) {
      const Moments m = moments(values.data() + row, width, eps);
      for (std::int64_t i = row; i < row + width; ++i) {
        float& value = values[static_cast<std::size_t>(i)];
        value = static_cast<float>((value - m.mean) * m.inverse_deviation);
      }
    }
    write(y, values);
  });
}

STANDIN_OPERATION(GroupNorm, const aclTensor* x, const aclTensor* gamma, const aclTensor* beta,
                  std::int64_t batch, std::int64_t channels, std::int64_t pixels,
                  std::int64_t groups, double eps, aclTensor* out, aclTensor* mean,
                  aclTensor* rstd) {
  Plan plan("aclnnGroupNorm");
  check_groups(plan, x, gamma, beta, groups, eps, out, mean, rstd);
  if (!plan.refused()) {
    plan.require(gamma->dtype == x->dtype && beta->dtype == x->dtype,
                 "gamma and beta must have the dtype of self");
    plan.require(batch * channels * pixels == element_count(*x), "N, C and HxW are not self's");
  }
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  return plan.finish(workspace_bytes, executor,
                     [a = *x, g = *gamma, b = *beta, y = *out, groups, eps] {
                       normalize_groups(a, g, b, y, groups, eps);
                     });
}

STANDIN_OPERATION(GroupNormSiluV2, const aclTensor* x, const aclTensor* gamma,
                  const aclTensor* beta, std::int64_t groups, double eps, bool activate_silu,
                  aclTensor* out, aclTensor* mean, aclTensor* rstd) {
  Plan plan("aclnnGroupNormSiluV2");
  check_groups(plan, x, gamma, beta, groups, eps, out, mean, rstd);
  if (!plan.refused()) {
    plan.require(gamma->dtype == x->dtype || gamma->dtype == ACL_FLOAT,
                 "gamma must be FLOAT or of the dtype of self");
    plan.require(gamma->dtype == beta->dtype, "gamma and beta differ in dtype");
    plan.require(is_dense(*out) && is_dense(*mean) && is_dense(*rstd), "outputs must be dense");
    plan.require(!activate_silu, "the stand-in has no silu here");
  }
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  return plan.finish(workspace_bytes, executor,
                     [a = *x, g = *gamma, b = *beta, y = *out, groups, eps] {
                       normalize_groups(a, g, b, y, groups, eps);
                     });
}

STANDIN_OPERATION(Softmax, const aclTensor* x, std::int64_t axis, aclTensor* out) {
  Plan plan("aclnnSoftmax");
  plan.input(x, "self");
  plan.output(out, "out");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  plan.require(axis == -1, "the stand-in has the last axis only");
  plan.require(x->dims == out->dims && x->dtype == out->dtype, "out must be like self");
  return plan.finish(workspace_bytes, executor, [a = *x, y = *out] {
    Values values = read(a);
    const auto width = static_cast<std::size_t>(a.dims.back());
    for (std::size_t row = 0; row < values.size(); row += width) {
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row);
      const float largest = *std::max_element(begin, begin + static_cast<std::ptrdiff_t>(width));
      double sum = 0;
      for (std::size_t i = row; i < row + width; ++i)
        sum += values[i] = std::exp(values[i] - largest);
      for (std::size_t i = row; i < row + width; ++i)
        values[i] = static_cast<float>(values[i] / sum);
    }
    write(y, values);
  });
}
