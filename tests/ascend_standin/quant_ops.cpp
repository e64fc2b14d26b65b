// Rows rounded to int8, and products of such rows.
#include <algorithm>
#include <cmath>

#include "operation.h"

using namespace standin;

namespace {

/// Per row: largest magnitude / 127, and what that makes of the row. A row of zeros stays one.
void quantize_rows(const aclTensor& x, const aclTensor& codes, const aclTensor& scales) {
  Values values = read(x);
  const auto depth = static_cast<std::size_t>(x.dims.back());
  Values of_rows(values.size() / depth);
  for (std::size_t i = 0; i < of_rows.size(); ++i) {
    float* const row = values.data() + i * depth;
    float largest = 0;
    for (std::size_t k = 0; k < depth; ++k) largest = std::max(largest, std::abs(row[k]));
    of_rows[i] = largest / 127.0f;
    for (std::size_t k = 0; k < depth; ++k)
      row[k] = largest > 0 ? std::nearbyint(row[k] / of_rows[i]) : 0.0f;
  }
  write(codes, std::move(values));
  write(scales, std::move(of_rows));
}

struct Product {
  const aclTensor *x, *w, *w_scales, *x_scales, *bias, *out;
  bool transpose_x, transpose_w;
  bool in_blocks = false;  ///< w, as FRACTAL_NZ: [K / 32, N / 16, 16, 32]
};

constexpr std::int64_t kBlockRows = 16, kBlockDepth = 32;

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Codes of [N, K] in its blocks, with what fills them up.
std::int64_t block_count(const aclTensor& w) {
  return rounded_up(w.dims[0], kBlockRows) * rounded_up(w.dims[1], kBlockDepth);
}

std::vector<std::int8_t> codes_of(const aclTensor& tensor) {
  const Values values = read(tensor);
  return {values.begin(), values.end()};
}

/// Rows out of blocks.
std::vector<std::int8_t> codes_of_blocks(const aclTensor& w) {
  aclTensor all = w;
  all.dims = {block_count(w)};
  all.strides = {1};
  const std::vector<std::int8_t> blocks = codes_of(all);
  const std::int64_t across = rounded_up(w.dims[0], kBlockRows) / kBlockRows;
  std::vector<std::int8_t> rows;
  for (std::int64_t n = 0; n < w.dims[0]; ++n) {
    for (std::int64_t k = 0; k < w.dims[1]; ++k) {
      const std::int64_t block = k / kBlockDepth * across + n / kBlockRows;
      const std::int64_t within = n % kBlockRows * kBlockDepth + k % kBlockDepth;
      rows.push_back(blocks[static_cast<std::size_t>(block * kBlockRows * kBlockDepth + within)]);
    }
  }
  return rows;
}

/// x [M, K] and w [N, K], of integers: out = sum * scale of the column * scale of the row, rounded
/// once.
void multiply(const aclTensor& x, const aclTensor& w, bool in_blocks, const Values& columns,
              const Values& rows, const aclTensor& out) {
  const std::vector<std::int8_t> left = codes_of(x);
  const std::vector<std::int8_t> right = in_blocks ? codes_of_blocks(w) : codes_of(w);
  const std::int64_t m = x.dims[0], n = w.dims[0], depth = x.dims[1];
  Values result(static_cast<std::size_t>(m * n));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      const auto at = static_cast<std::size_t>(columns.size() == 1 ? 0 : j);
      const float row = rows.empty() ? 1.0f : rows[static_cast<std::size_t>(i)];
      result[static_cast<std::size_t>(i * n + j)] =
          static_cast<float>(dot_product(&left[static_cast<std::size_t>(i * depth)],
                                         &right[static_cast<std::size_t>(j * depth)], depth)) *
          columns[at] * row;
    }
  }
  write(out, std::move(result));
}

/// Of either side as it is given, transposed or not.
constexpr std::int64_t kLargestLastAxis = 65535;

bool is_matrix(const aclTensor& tensor) { return tensor.dims.size() == 2; }

/// Int8 with scales of columns and perhaps rows, to bf16: the only combination of types that the
/// backend uses. Others of the page are refused here though a card takes them.
void check(Plan& plan, const Product& p) {
  plan.input(p.x, "x1");
  plan.input(p.w, "x2");
  plan.input(p.w_scales, "scale");
  plan.input(p.x_scales, "pertokenScale", true);
  plan.require(p.bias == nullptr, "a bias is not computed by the stand-in");
  plan.output(p.out, "out");
  if (plan.refused()) return;
  plan.require(p.x->dtype == ACL_INT8 && p.w->dtype == ACL_INT8,
               "x1 " + text_of(*p.x) + " and x2 " + text_of(*p.w) + " must be INT8");
  plan.require(is_matrix(*p.x) && is_matrix(*p.w) && is_matrix(*p.out),
               "x1, x2 and out must have two axes");
  for (const aclTensor* tensor : {p.x, p.w, p.out})
    plan.require(element_count(*tensor) > 0, "empty tensors are not supported");
  if (plan.refused()) return;
  for (const aclTensor* tensor : {p.x, p.w}) {
    plan.require(is_dense(*tensor) || is_dense(transposed(*tensor)),
                 "only the last two axes may be transposed");
    plan.require(tensor->dims[1] <= kLargestLastAxis, "the last axis is larger than 65535");
    plan.reads_transposed(*tensor);
  }
  if (p.in_blocks) {
    plan.require(p.transpose_w && is_dense(*p.w),
                 "x2 is computed here as [N, K] with transposeX2 only");
    plan.require(p.w->storage - p.w->offset == block_count(*p.w),
                 "x2's format only supports NZ: its storage must have " +
                     std::to_string(block_count(*p.w)) + " elements");
  }
  const aclTensor x = p.transpose_x ? transposed(*p.x) : *p.x;
  const aclTensor w = p.transpose_w ? *p.w : transposed(*p.w);
  plan.require(x.dims[1] == w.dims[1] && p.out->dims[0] == x.dims[0] && p.out->dims[1] == w.dims[0],
               text_of(*p.x) + " and " + text_of(*p.w) + " do not make " + text_of(*p.out));
  plan.require(p.w_scales->dtype == ACL_FLOAT || p.w_scales->dtype == ACL_BF16,
               "scale must be FLOAT or BF16 for this out");
  plan.require(p.w_scales->dims.size() == 1 &&
                   (p.w_scales->dims[0] == 1 || p.w_scales->dims[0] == w.dims[0]),
               "scale must have one element, or one a column");
  plan.require(p.out->dtype == ACL_BF16, "out must be BF16 for these scales");
  if (p.x_scales == nullptr) return;
  plan.require(p.x_scales->dtype == ACL_FLOAT, "pertokenScale must be FLOAT");
  plan.require(p.x_scales->dims.size() == 1 && p.x_scales->dims[0] == x.dims[0],
               "pertokenScale must have one element a row");
}

aclnnStatus quantized_product(Plan& plan, const Product& p, std::uint64_t* workspace_bytes,
                              aclOpExecutor** executor) {
  check(plan, p);
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  const bool has_rows = p.x_scales != nullptr;
  return plan.finish(
      workspace_bytes, executor,
      [x = p.transpose_x ? transposed(*p.x) : *p.x, w = p.transpose_w ? *p.w : transposed(*p.w),
       columns = *p.w_scales, rows = has_rows ? *p.x_scales : aclTensor{}, has_rows, out = *p.out,
       in_blocks = p.in_blocks] {
        multiply(x, w, in_blocks, read(columns), has_rows ? read(rows) : Values(), out);
      });
}

}  // namespace

STANDIN_OPERATION(DynamicQuant, const aclTensor* x, const aclTensor* smooth_scales,
                  const aclTensor* out, const aclTensor* scales) {
  Plan plan("aclnnDynamicQuant");
  plan.input(x, "x");
  plan.require(smooth_scales == nullptr, "smoothScales are not computed by the stand-in");
  plan.output(out, "yOut");
  plan.output(scales, "scaleOut");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  plan.require(x->dtype == ACL_BF16 || x->dtype == ACL_FLOAT16, "x must be BF16 or FLOAT16");
  plan.require(x->dims.size() >= 2, "x must have two axes or more");
  plan.require(out->dtype == ACL_INT8 && out->dims == x->dims,
               "yOut must be INT8 of the shape of x");
  std::vector<std::int64_t> rows = x->dims;
  if (!rows.empty()) rows.pop_back();
  plan.require(scales->dtype == ACL_FLOAT && scales->dims == rows,
               "scaleOut must be FLOAT of the shape of x without its last axis");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  return plan.finish(workspace_bytes, executor,
                     [x = *x, out = *out, scales = *scales] { quantize_rows(x, out, scales); });
}

STANDIN_OPERATION(QuantMatmulV3, const aclTensor* x, const aclTensor* w, const aclTensor* scale,
                  const aclTensor* offset, const aclTensor* bias, bool transpose_x,
                  bool transpose_w, const aclTensor* out) {
  Plan plan("aclnnQuantMatmulV3");
  plan.require(offset == nullptr, "an offset is for INT8 results");
  return quantized_product(plan, {x, w, scale, nullptr, bias, out, transpose_x, transpose_w},
                           workspace_bytes, executor);
}

STANDIN_OPERATION(QuantMatmulV4, const aclTensor* x, const aclTensor* w, const aclTensor* scale,
                  const aclTensor* offset, const aclTensor* row_scales, const aclTensor* bias,
                  bool transpose_x, bool transpose_w, const aclTensor* out) {
  Plan plan("aclnnQuantMatmulV4");
  plan.require(offset == nullptr, "an offset is for INT8 results");
  return quantized_product(plan, {x, w, scale, row_scales, bias, out, transpose_x, transpose_w},
                           workspace_bytes, executor);
}

namespace {

/// What these two have in common.
void require_plain(Plan& plan, const aclTensor* y_scale, const aclTensor* x_offset,
                   const aclTensor* w_offset, const aclTensor* y_offset, std::int64_t group_size) {
  plan.require(
      y_scale == nullptr && x_offset == nullptr && w_offset == nullptr && y_offset == nullptr,
      "yScale and offsets are not for INT8 with scales of rows and columns");
  plan.require(group_size == 0, "groupSize is for scales of groups");
}

}  // namespace

STANDIN_OPERATION(QuantMatmulV5, const aclTensor* x, const aclTensor* w, const aclTensor* x_scales,
                  const aclTensor* w_scales, const aclTensor* y_scale, const aclTensor* x_offset,
                  const aclTensor* w_offset, const aclTensor* y_offset, const aclTensor* bias,
                  bool transpose_x, bool transpose_w, std::int64_t group_size, aclTensor* out) {
  Plan plan("aclnnQuantMatmulV5");
  require_plain(plan, y_scale, x_offset, w_offset, y_offset, group_size);
  return quantized_product(plan, {x, w, w_scales, x_scales, bias, out, transpose_x, transpose_w},
                           workspace_bytes, executor);
}

STANDIN_OPERATION(QuantMatmulWeightNz, const aclTensor* x, const aclTensor* w,
                  const aclTensor* x_scales, const aclTensor* w_scales, const aclTensor* y_scale,
                  const aclTensor* x_offset, const aclTensor* w_offset, const aclTensor* y_offset,
                  const aclTensor* bias, bool transpose_x, bool transpose_w,
                  std::int64_t group_size, aclTensor* out) {
  Plan plan("aclnnQuantMatmulWeightNz");
  require_plain(plan, y_scale, x_offset, w_offset, y_offset, group_size);
  return quantized_product(plan,
                           {x, w, w_scales, x_scales, bias, out, transpose_x, transpose_w, true},
                           workspace_bytes, executor);
}
