// Compiled without contraction of a * b + c, and sums have a written order: every processor is to
// make the same bytes.
#include "core/packed_weight.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "core/half.h"
#include "core/unpack_weight.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kPanel = PackedLayout::kPanelOutputs;
constexpr std::int64_t kStep = PackedLayout::kStepDepth;
constexpr std::int64_t kGroup = PackedLayout::kGroupDepth;
constexpr std::int64_t kBlock = PackedLayout::kBlockDepth;
constexpr float kMaxScale = PackedLayout::kMaxGroupScale;
constexpr float kMaxMultiple4 = PackedLayout::kMaxMultiple4;
constexpr float kMaxFactor4 = PackedLayout::kMaxFactor4;
constexpr int kMaxPair = PackedLayout::kMaxPair;

// Keeps sizes in bytes within 64 bits.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 30;

// A row of smaller numbers is as good as zeros, and its scale could not be inverted.
constexpr float kTiny = 1e-30f;

using Group = std::span<const float>;

/// To the nearest integer, ties to even, for |value| < 2^22; compilers make vector code of it.
float round_to_integer(float value) {
  constexpr float kMagic = 0x1.8p23f;  // adding it leaves no fraction bits
  return (value + kMagic) - kMagic;
}

// ---- a row in float, rotated -----------------------------------------------------------------

void read_row(const Weight& weight, std::int64_t row, std::span<float> target) {
  const std::int64_t count = weight.shape[1];
  widen_elements(weight, row * count, count, target.data());
}

/// Fast Walsh-Hadamard transform, not normalised. width: a power of two, at least 4.
void transform(float* x, std::int64_t width) {
  for (std::int64_t i = 0; i < width; i += 4) {
    const float a = x[i] + x[i + 1], b = x[i] - x[i + 1];
    const float c = x[i + 2] + x[i + 3], d = x[i + 2] - x[i + 3];
    x[i] = a + c;
    x[i + 1] = b + d;
    x[i + 2] = a - c;
    x[i + 3] = b - d;
  }
  for (std::int64_t half = 4; half < width; half *= 2) {
    for (std::int64_t i = 0; i < width; i += 2 * half) {
      float* low = x + i;
      float* high = low + half;
      for (std::int64_t j = 0; j < half; j += 4) {
        for (std::int64_t lane = j; lane < j + 4; ++lane) {
          const float sum = low[lane] + high[lane];
          high[lane] = low[lane] - high[lane];
          low[lane] = sum;
        }
      }
    }
  }
}

}  // namespace

void rotate_row(std::span<float> row, std::int64_t width) {
  if (width == 1) return;
  const float norm = 1.0f / std::sqrt(static_cast<float>(width));
  for (std::size_t k = 0; k < row.size(); k += static_cast<std::size_t>(width))
    transform(row.data() + k, width);
  for (float& value : row) value *= norm;
}

namespace {

// ---- codes and scales of a row ---------------------------------------------------------------

/// What a row becomes: row_scale * scales[k / 32] * codes[k].
struct QuantizedRow {
  std::span<std::int8_t> codes;   ///< [depth]
  std::span<std::int8_t> scales;  ///< [depth / 32]
  float row_scale = 0;
};

float largest_magnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

bool all_finite(std::span<const float> values) {
  float zero = 0;
  for (const float value : values) zero += value * 0.0f;  // 0, or NaN from the first bad one on
  return zero == 0.0f;
}

/// The smallest step that keeps codes within 127 and pairs of them within kMaxPair.
float smallest_step8(Group group) {
  float single = 0, pair = 0;
  for (std::size_t k = 0; k < group.size(); k += 2) {
    single = std::max({single, std::abs(group[k]), std::abs(group[k + 1])});
    pair = std::max(pair, std::abs(group[k] + group[k + 1]));
  }
  return std::max(single / 127.0f, pair / static_cast<float>(kMaxPair));
}

/// Rounding of the step may lead one beyond the limits, never more.
void limit_pair(std::int8_t& a, std::int8_t& b) {
  const int sum = a + b;
  if (sum > kMaxPair) --(a > b ? a : b);
  if (sum < -kMaxPair) ++(a < b ? a : b);
}

void quantize_group8(Group group, float step, std::int8_t* codes) {
  const float inverse = 1.0f / step;
  for (std::size_t k = 0; k < group.size(); ++k) {
    const float code = round_to_integer(group[k] * inverse);
    codes[k] = static_cast<std::int8_t>(std::clamp(code, -127.0f, 127.0f));
  }
  for (std::size_t k = 0; k < group.size(); k += 2) limit_pair(codes[k], codes[k + 1]);
}

/// Elements of the row from k on that share a scale.
Group scale_run8(std::span<const float> row, std::size_t k) {
  return row.subspan(k, std::min<std::size_t>(PackedLayout::kScaleRun, row.size() - k));
}

void quantize_row8(std::span<const float> row, QuantizedRow& result) {
  float largest_step = 0;
  for (std::size_t k = 0; k < row.size(); k += PackedLayout::kScaleRun)
    largest_step = std::max(largest_step, smallest_step8(scale_run8(row, k)));
  result.row_scale = largest_step / kMaxScale;
  if (result.row_scale < kTiny) return;
  for (std::size_t k = 0; k < row.size(); k += PackedLayout::kScaleRun) {
    const Group run = scale_run8(row, k);
    const float needed = std::ceil(smallest_step8(run) / result.row_scale);
    const float scale = std::clamp(needed, 1.0f, kMaxScale);
    std::fill_n(&result.scales[k / kGroup], run.size() / kGroup, static_cast<std::int8_t>(scale));
    quantize_group8(run, scale * result.row_scale, &result.codes[k]);
  }
}

/// Eight running sums, so that the additions have one order on every processor.
struct Sums {
  std::array<float, 8> lanes{};
  float total() const {
    const auto& s = lanes;
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
  }
};

float code4(float value, float inverse) {
  return std::min(std::max(round_to_integer(value * inverse), -8.0f), 7.0f);
}

float squared_error4(Group group, float step) {
  const float inverse = 1.0f / step;
  Sums sums;
  for (std::size_t k = 0; k < kGroup; k += 8) {
    for (std::size_t lane = 0; lane < 8; ++lane) {
      const float value = group[k + lane];
      const float error = value - step * code4(value, inverse);
      sums.lanes[lane] += error * error;
    }
  }
  return sums.total();
}

/// A scale of a group, and the squared error that it leaves.
struct Fit4 {
  float multiple;
  float error;
};

/// The integer multiple of the unit that has the least squared error, its sign included, since
/// codes reach -8 but only 7. Steps of a ninth to a seventh of the largest magnitude are tried.
Fit4 best_multiple4(Group group, float unit) {
  const float units = largest_magnitude(group) / unit;
  const float first = std::clamp(std::floor(units / 9.0f), 1.0f, kMaxMultiple4);
  const float last = std::min(kMaxMultiple4, std::ceil(units / 7.0f));
  Fit4 best{first, std::numeric_limits<float>::infinity()};
  for (float magnitude = first; magnitude <= last; ++magnitude) {
    for (const float multiple : {magnitude, -magnitude}) {
      const float error = squared_error4(group, multiple * unit);
      if (error < best.error) best = {multiple, error};
    }
  }
  return best;
}

/// The factor of least squared error for groups that share it, near the one whose largest multiple
/// is just enough.
float best_factor4(std::span<const float> run, float row_scale) {
  const float enough = std::ceil(largest_magnitude(run) / (7.0f * kMaxMultiple4 * row_scale));
  float best = 1.0f;
  float least = std::numeric_limits<float>::infinity();
  for (float factor = std::max(1.0f, enough - 1); factor <= std::min(kMaxFactor4, enough + 1);
       ++factor) {
    float error = 0;
    for (std::size_t i = 0; i < run.size(); i += kGroup)
      error += best_multiple4(run.subspan(i, kGroup), factor * row_scale).error;
    if (error < least) {
      least = error;
      best = factor;
    }
  }
  return best;
}

/// The factor that brings `factor` * scale * code nearest to the row, in the least squares.
float fitted_row_scale(std::span<const float> row, const QuantizedRow& quantized) {
  Sums products, squares;
  for (std::size_t k = 0; k < row.size(); k += 8) {
    for (std::size_t lane = 0; lane < 8; ++lane) {
      const auto value =
          static_cast<float>(quantized.codes[k + lane] * quantized.scales[k / kGroup]);
      products.lanes[lane] += row[k + lane] * value;
      squares.lanes[lane] += value * value;
    }
  }
  const float square = squares.total();
  return square > 0 ? products.total() / square : quantized.row_scale;
}

/// Elements of the row from k on, which share a factor.
void quantize_run4(std::span<const float> run, std::size_t k, QuantizedRow& result) {
  const float factor = best_factor4(run, result.row_scale);
  const float unit = factor * result.row_scale;
  for (std::size_t i = 0; i < run.size(); i += kGroup) {
    const Group group = run.subspan(i, kGroup);
    const float multiple = best_multiple4(group, unit).multiple;
    result.scales[(k + i) / kGroup] = static_cast<std::int8_t>(factor * multiple);
    const float inverse = 1.0f / (multiple * unit);
    for (std::size_t j = 0; j < kGroup; ++j)
      result.codes[k + i + j] = static_cast<std::int8_t>(code4(group[j], inverse));
  }
}

void quantize_row4(std::span<const float> row, QuantizedRow& result) {
  result.row_scale = largest_magnitude(row) / (7.0f * kMaxMultiple4 * kMaxFactor4);
  if (result.row_scale < kTiny) return;
  for (std::size_t k = 0; k < row.size(); k += PackedLayout::kScaleRun)
    quantize_run4(row.subspan(k, std::min<std::size_t>(PackedLayout::kScaleRun, row.size() - k)), k,
                  result);
  result.row_scale = fitted_row_scale(row, result);
}

// ---- the record ------------------------------------------------------------------------------

/// Codes and scales of the 16 outputs of a panel.
struct Panel {
  explicit Panel(std::int64_t row_depth)
      : depth(static_cast<std::size_t>(row_depth)),
        codes(kPanel * depth),
        scales(kPanel * depth / kGroup) {}

  QuantizedRow row(std::size_t output) {
    return {std::span(codes).subspan(output * depth, depth),
            std::span(scales).subspan(output * depth / kGroup, depth / kGroup)};
  }
  int code(std::size_t output, std::size_t k) const { return codes[output * depth + k]; }
  int scale(std::size_t output, std::size_t k) const {
    return scales[(output * depth + k) / kGroup];
  }

  std::size_t depth;
  std::vector<std::int8_t> codes;
  std::vector<std::int8_t> scales;
  std::array<float, kPanel> row_scales{};
};

Panel quantize_panel(const PackedLayout& layout, const Weight& weight, std::int64_t panel) {
  Panel result(layout.depth);
  std::vector<float> row(result.depth);
  for (std::int64_t output = 0; output < kPanel; ++output) {
    const std::int64_t n = panel * kPanel + output;
    if (n >= layout.outputs) break;
    read_row(weight, n, row);
    rotate_row(std::span(row).first(static_cast<std::size_t>(layout.inputs)), layout.rotation);
    QuantizedRow quantized = result.row(static_cast<std::size_t>(output));
    if (!all_finite(row)) {
      quantized.row_scale = std::numeric_limits<float>::quiet_NaN();
    } else if (layout.format == WeightFormat::packed_int8) {
      quantize_row8(row, quantized);
    } else {
      quantize_row4(row, quantized);
    }
    result.row_scales[static_cast<std::size_t>(output)] = quantized.row_scale;
  }
  return result;
}

/// Appends numbers to a record.
class Writer {
 public:
  explicit Writer(std::byte* target) : target_(target) {}

  template <class T>
  void put(T value) {
    std::memcpy(target_, &value, sizeof(value));
    target_ += sizeof(value);
  }

 private:
  std::byte* target_;
};

void write_codes8(const Panel& panel, std::size_t begin, std::size_t end, Writer& writer) {
  for (std::size_t k = begin; k < end; k += kStep) {
    for (std::size_t output = 0; output < kPanel; ++output) {
      for (std::size_t i = 0; i < kStep; ++i)
        writer.put(static_cast<std::int8_t>(panel.code(output, k + i)));
    }
  }
}

void write_codes4(const Panel& panel, std::size_t begin, std::size_t end, Writer& writer) {
  for (std::size_t k = begin; k < end; k += 2 * kStep) {
    for (std::size_t output = 0; output < kPanel; ++output) {
      for (std::size_t i = 0; i < kStep; ++i) {
        const int low = panel.code(output, k + i) + 8;
        const int high = panel.code(output, k + kStep + i) + 8;
        writer.put(static_cast<std::uint8_t>(low | (high << 4)));
      }
    }
  }
}

void write_scales(const Panel& panel, std::size_t begin, std::size_t end, Writer& writer) {
  for (std::size_t k = begin; k < end; k += kGroup) {
    for (std::size_t output = 0; output < kPanel; ++output)
      writer.put(static_cast<std::int8_t>(panel.scale(output, k)));
  }
}

void write_sums(const Panel& panel, std::size_t begin, std::size_t end, Writer& writer) {
  for (std::size_t output = 0; output < kPanel; ++output) {
    std::int32_t sum = 0;
    for (std::size_t k = begin; k < end; ++k) sum += panel.scale(output, k) * panel.code(output, k);
    writer.put(sum);
  }
}

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

std::int64_t rotation_width(std::int64_t inputs) {
  for (std::int64_t width = kBlock; width >= kGroup; width /= 2) {
    if (inputs % width == 0) return width;
  }
  return 1;
}

PackedLayout::PackedLayout(WeightFormat packed_format, const Shape& shape)
    : format(packed_format),
      outputs(shape[0]),
      inputs(shape[1]),
      depth(round_up(inputs, kGroupDepth)),
      panels(round_up(outputs, kPanelOutputs) / kPanelOutputs),
      rotation(rotation_width(inputs)) {
  assert(shape.size() == 2 && format != WeightFormat::plain);
  if (outputs < 0 || inputs < 0 || outputs > kMaxExtent || inputs > kMaxExtent) {
    throw Error(ErrorKind::unsupported,
                "a packed weight " + to_string(shape) + " is too large; at most 2^30 each way");
  }
}

std::size_t PackedLayout::code_bytes(std::int64_t count) const {
  const std::int64_t codes = count * kPanelOutputs;
  return static_cast<std::size_t>(format == WeightFormat::packed_int8 ? codes : codes / 2);
}

std::size_t PackedLayout::block_bytes(std::int64_t count) const {
  const std::size_t outputs_of_panel = kPanelOutputs;
  return code_bytes(count) + static_cast<std::size_t>(count / kGroupDepth) * outputs_of_panel +
         outputs_of_panel * sizeof(std::int32_t);
}

std::size_t PackedLayout::row_scale_offset() const {
  const std::int64_t rest = depth % kBlockDepth;
  return static_cast<std::size_t>(depth / kBlockDepth) * block_bytes(kBlockDepth) +
         (rest > 0 ? block_bytes(rest) : 0);
}

std::size_t PackedLayout::record_bytes() const {
  const std::size_t bytes = row_scale_offset() + kPanelOutputs * sizeof(float);
  return static_cast<std::size_t>(round_up(static_cast<std::int64_t>(bytes), 64));
}

void pack_panel(const PackedLayout& layout, const Weight& weight, std::int64_t panel,
                std::byte* record) {
  const Panel quantized = quantize_panel(layout, weight, panel);
  std::memset(record, 0, layout.record_bytes());
  Writer writer(record);
  for (std::size_t begin = 0; begin < quantized.depth; begin += kBlock) {
    const std::size_t end = std::min<std::size_t>(begin + kBlock, quantized.depth);
    if (layout.format == WeightFormat::packed_int8) {
      write_codes8(quantized, begin, end, writer);
    } else {
      write_codes4(quantized, begin, end, writer);
    }
    write_scales(quantized, begin, end, writer);
    write_sums(quantized, begin, end, writer);
  }
  for (const float scale : quantized.row_scales) writer.put(scale);
}

void unpack_row(const Weight& weight, std::int64_t row, float* target) {
  const PackedLayout layout(weight.format, weight.shape);
  if (weight.packed_bytes != layout.size_bytes()) {
    throw Error(ErrorKind::corrupt_file, weight.name + ": " + std::to_string(weight.packed_bytes) +
                                             " bytes, expected " +
                                             std::to_string(layout.size_bytes()));
  }
  const std::byte* const record =
      weight.data + static_cast<std::size_t>(row / kPanel) * layout.record_bytes();
  const std::int64_t output = row % kPanel;
  float row_scale;
  std::memcpy(&row_scale,
              record + layout.row_scale_offset() + static_cast<std::size_t>(output) * sizeof(float),
              sizeof(float));
  std::vector<float> values(static_cast<std::size_t>(layout.depth));
  const std::byte* block = record;
  for (std::int64_t begin = 0; begin < layout.depth; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, layout.depth - begin);
    const auto* const scales =
        reinterpret_cast<const std::int8_t*>(block + layout.code_bytes(count));
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t step = k / kStep;
      int code;
      if (layout.format == WeightFormat::packed_int8) {
        code = static_cast<std::int8_t>(block[(step * kPanel + output) * kStep + k % kStep]);
      } else {
        const int pair =
            std::to_integer<int>(block[(step / 2 * kPanel + output) * kStep + k % kStep]);
        code = (step % 2 == 0 ? pair & 15 : pair >> 4) - 8;
      }
      const int scale = scales[k / kGroup * kPanel + output];
      values[static_cast<std::size_t>(begin + k)] = row_scale * static_cast<float>(scale * code);
    }
    block += layout.block_bytes(count);
  }
  // The matrices of the rotation are their own inverses.
  const auto row_values = std::span(values).first(static_cast<std::size_t>(layout.inputs));
  rotate_row(row_values, layout.rotation);
  std::ranges::copy(row_values, target);
}

}  // namespace ernie_image
