#include <algorithm>
#include <bit>

#include "operation.h"

using namespace standin;

namespace {

/// How the windows of a convolution lie on the picture.
struct Windows {
  std::int64_t stride[2];
  std::int64_t above, below, left, right;  // zeros

  std::int64_t rows(std::int64_t height, std::int64_t kernel) const {
    return (height + above + below - kernel) / stride[0] + 1;
  }
  std::int64_t columns(std::int64_t width, std::int64_t kernel) const {
    return (width + left + right - kernel) / stride[1] + 1;
  }
};

/// Two numbers are of both sides, four of each.
Windows windows_of(const std::vector<std::int64_t>& stride,
                   const std::vector<std::int64_t>& padding) {
  const bool each = padding.size() == 4;
  return {{stride[0], stride[1]},
          padding[0],
          padding[each ? 1 : 0],
          padding[each ? 2 : 1],
          padding[each ? 3 : 1]};
}

/// Rows of patches of one picture [C, H, W]: [outputs' H * W, C * k * k].
Values patches_of(const float* picture, std::int64_t channels, std::int64_t height,
                  std::int64_t width, std::int64_t kernel, const Windows& windows) {
  const std::int64_t depth = channels * kernel * kernel;
  const std::int64_t rows = windows.rows(height, kernel), columns = windows.columns(width, kernel);
  Values patches(static_cast<std::size_t>(rows * columns * depth), 0.0f);
  for (std::int64_t y = 0; y < rows; ++y) {
    for (std::int64_t x = 0; x < columns; ++x) {
      float* patch = patches.data() + (y * columns + x) * depth;
      for (std::int64_t c = 0; c < channels; ++c) {
        for (std::int64_t tap = 0; tap < kernel * kernel; ++tap, ++patch) {
          const std::int64_t row = y * windows.stride[0] + tap / kernel - windows.above;
          const std::int64_t column = x * windows.stride[1] + tap % kernel - windows.left;
          if (row < 0 || row >= height || column < 0 || column >= width) continue;
          *patch = picture[(c * height + row) * width + column];
        }
      }
    }
  }
  return patches;
}

/// As [N, C / 16, H, W, 16], the only format of the kernels: input and result are copied there.
std::uint64_t blocked_bytes(const aclTensor& picture) {
  if (picture.dims.size() != 4) return 0;
  const std::int64_t channels = (picture.dims[1] + 15) / 16 * 16;
  return static_cast<std::uint64_t>(picture.dims[0] * channels * picture.dims[2] *
                                    picture.dims[3]) *
         element_bytes(picture.dtype);
}

/// Rounded to the 11 bits of mantissa that HF32 has.
Values as_hf32(Values values) {
  constexpr std::uint32_t kDropped = 23 - 11;
  for (float& value : values) {
    auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7f800000) == 0x7f800000) continue;  // infinite, or no number
    bits += (1u << (kDropped - 1)) - 1 + ((bits >> kDropped) & 1);
    value = std::bit_cast<float>(bits & ~((1u << kDropped) - 1));
  }
  return values;
}

void convolve(const aclTensor& input, const aclTensor& weight, const aclTensor& bias,
              const Windows& windows, const aclTensor& out, std::int8_t cube_math_type) {
  constexpr std::int8_t kHf32Math = 3;
  const bool rounds = cube_math_type == kHf32Math && input.dtype == ACL_FLOAT;
  const Values pictures = rounds ? as_hf32(read(input)) : read(input);
  const Values kernels = rounds ? as_hf32(read(weight)) : read(weight);
  const Values offsets = read(bias);
  const std::int64_t channels = input.dims[1], height = input.dims[2], width = input.dims[3];
  const std::int64_t outputs = weight.dims[0], pixels = out.dims[2] * out.dims[3];
  const std::int64_t depth = channels * weight.dims[2] * weight.dims[3];
  Values result(static_cast<std::size_t>(element_count(out)));
  for (std::int64_t b = 0; b < input.dims[0]; ++b) {
    const Values patches = patches_of(pictures.data() + b * channels * height * width, channels,
                                      height, width, weight.dims[2], windows);
    float* const planes = result.data() + b * outputs * pixels;
    multiply_transposed(kernels.data(), patches.data(), planes, outputs, depth, pixels);
    for (std::int64_t i = 0; i < outputs * pixels; ++i)
      planes[i] += offsets[static_cast<std::size_t>(i / pixels)];
  }
  write(out, result);
}

}  // namespace

STANDIN_OPERATION(Convolution, const aclTensor* x, const aclTensor* weight, const aclTensor* bias,
                  const aclIntArray* stride, const aclIntArray* padding,
                  const aclIntArray* dilation, bool transposed, const aclIntArray* output_padding,
                  const std::int64_t groups, aclTensor* out, std::int8_t cube_math_type) {
  Plan plan("aclnnConvolution",
            is_alive(x) && is_alive(out) ? blocked_bytes(*x) + blocked_bytes(*out) : 0);
  plan.input(x, "input", false, true);
  plan.input(weight, "weight", false, true);
  plan.input(bias, "bias");
  plan.output(out, "output", false, true);
  plan.require(stride && padding && dilation && output_padding, "an array is null", kNullPointer);
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  plan.require(x->dims.size() == 4 && weight->dims.size() == 4 && out->dims.size() == 4,
               "tensors of rank 4 are needed");
  plan.require(is_float(x->dtype) && x->dtype == weight->dtype && x->dtype == out->dtype,
               "input, weight and output must have one dtype");
  plan.require(bias->dtype == ACL_FLOAT || bias->dtype == x->dtype,
               "the bias must be FLOAT or of the dtype of input");
  plan.count_cast(bias->dtype == ACL_BF16);  // there is no kernel for it
  plan.require(x->dtype != ACL_BF16 || cube_math_type != 2, "cubeMathType 2 is refused for BF16");
  plan.require(cube_math_type >= 0 && cube_math_type <= 3, "no such cubeMathType");
  plan.require(!transposed && groups == 1 && dilation->values == std::vector<std::int64_t>{1, 1},
               "the stand-in has plain convolutions only");
  plan.require(stride->values.size() == 2 && std::ranges::min(stride->values) >= 1,
               "stride must be 2 numbers from 1 on");
  const std::size_t sides = padding->values.size();
  plan.require((sides == 2 || sides == 4) && std::ranges::min(padding->values) >= 0 &&
                   std::ranges::max(padding->values) <= 255,
               "padding must be 2 or 4 numbers from 0 to 255");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  plan.require(weight->dims[2] == weight->dims[3], "the stand-in has square kernels only");
  const Windows windows = windows_of(stride->values, padding->values);
  plan.require(x->dims[2] + windows.above + windows.below >= weight->dims[2] &&
                   x->dims[3] + windows.left + windows.right >= weight->dims[3],
               "the kernel is larger than the padded picture");
  plan.require(weight->dims[1] == x->dims[1] && out->dims[1] == weight->dims[0] &&
                   out->dims[0] == x->dims[0] &&
                   out->dims[2] == windows.rows(x->dims[2], weight->dims[2]) &&
                   out->dims[3] == windows.columns(x->dims[3], weight->dims[3]) &&
                   bias->dims == std::vector{weight->dims[0]},
               "shapes do not fit");
  return plan.finish(workspace_bytes, executor,
                     [a = *x, w = *weight, b = *bias, windows, y = *out, cube_math_type] {
                       convolve(a, w, b, windows, y, cube_math_type);
                     });
}

STANDIN_OPERATION(UpsampleNearest2d, const aclTensor* x, const aclIntArray* size, aclTensor* out) {
  Plan plan("aclnnUpsampleNearest2d");
  plan.input(x, "self", false, true);
  plan.output(out, "out", false, true);
  plan.require(size != nullptr, "outputSize is null", kNullPointer);
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  plan.require(x->dims.size() == 4 && out->dims.size() == 4, "tensors of rank 4 are needed");
  plan.require(x->dtype == out->dtype, "dtypes differ");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  const std::vector<std::int64_t> doubled = {2 * x->dims[2], 2 * x->dims[3]};
  plan.require(size->values == doubled && out->dims[2] == doubled[0] && out->dims[3] == doubled[1],
               "the stand-in doubles only");
  plan.require(*std::max_element(out->dims.begin(), out->dims.end()) <= 1 << 20,
               "an axis is longer than 2^20");
  return plan.finish(workspace_bytes, executor, [a = *x, y = *out] {
    const Values values = read(a);
    const std::int64_t width = a.dims[3];
    Values result(static_cast<std::size_t>(element_count(y)));
    for (std::int64_t i = 0; i < element_count(y); ++i) {
      const std::int64_t column = i % (2 * width), line = i / (2 * width);
      result[static_cast<std::size_t>(i)] =
          values[static_cast<std::size_t>(line / 2 * width + column / 2)];
    }
    write(y, result, Rounding::exact);
  });
}
