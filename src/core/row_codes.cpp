// Compiled without contraction of a * b + c: every processor is to make the same bytes.
#include "core/row_codes.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/packed_weight.h"
#include "core/unpack_weight.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 30;  // keeps sizes in bytes within 64 bits

constexpr std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// The row as the file means it.
void read_row_of_any(const Weight& weight, std::int64_t row, std::span<float> target) {
  if (is_packed(weight.format)) return unpack_row(weight, row, target.data());
  const std::int64_t depth = weight.shape[1];
  widen_elements(weight, row * depth, depth, target.data());
}

class RowCodesDecoder final : public WeightDecoder {
 public:
  RowCodesDecoder(const RowCodesLayout& layout, const std::byte* data)
      : layout_(layout), data_(data) {}

  std::string_view name() const override { return kRowCodesName; }
  std::optional<RowCodes> row_codes() const override {
    return RowCodes{data_, data_ + layout_.scale_offset};
  }

  void decode(std::int64_t begin, std::int64_t count, float* target) const override {
    const std::int64_t width = layout_.rotation;
    std::vector<float> part(static_cast<std::size_t>(width));
    const std::int64_t end = begin + count;
    for (std::int64_t first = begin / width * width; first < end; first += width) {
      decode_part(first, part);
      const std::int64_t from = std::max(first, begin), to = std::min(first + width, end);
      target = std::copy(part.begin() + (from - first), part.begin() + (to - first), target);
    }
  }

 private:
  /// The elements from `first` on that are rotated together.
  void decode_part(std::int64_t first, std::span<float> part) const {
    float scale = 0;
    std::memcpy(&scale,
                data_ + layout_.scale_offset +
                    static_cast<std::size_t>(first / layout_.depth) * sizeof(scale),
                sizeof(scale));
    scale *= std::sqrt(static_cast<float>(layout_.rotation));
    for (std::size_t i = 0; i < part.size(); ++i) {
      const std::byte code = data_[static_cast<std::size_t>(first) + i];
      part[i] = scale * static_cast<float>(std::to_integer<std::int8_t>(code));
    }
    rotate_row(part, layout_.rotation);  // its own inverse
  }

  RowCodesLayout layout_;
  const std::byte* data_;
};

}  // namespace

RowCodesLayout::RowCodesLayout(const Shape& shape)
    : rows(shape[0]), depth(shape[1]), rotation(rotation_width(shape[1])) {
  assert(shape.size() == 2);
  if (rows < 1 || depth < 1 || rows > kMaxExtent || depth > kMaxExtent) {
    throw Error(ErrorKind::unsupported,
                "a weight " + to_string(shape) + " cannot be quantised; 1 to 2^30 each way can");
  }
  scale_offset = aligned(code_bytes());
  size_bytes = scale_offset + aligned(static_cast<std::size_t>(rows) * sizeof(float));
}

float make_row_codes(const Weight& weight, std::int64_t row, std::span<float> scratch,
                     std::int8_t* codes) {
  const std::int64_t width = rotation_width(weight.shape[1]);
  read_row_of_any(weight, row, scratch);
  rotate_row(scratch, width);
  float largest = 0;
  bool is_finite = true;
  for (const float value : scratch) {
    is_finite = is_finite && std::isfinite(value);
    largest = std::max(largest, std::abs(value));
  }
  const float inverse = is_finite && largest > 0 ? 127.0f / largest : 0.0f;
  for (std::size_t k = 0; k < scratch.size(); ++k) {
    const float scaled = is_finite ? scratch[k] * inverse : 0.0f;
    codes[k] = static_cast<std::int8_t>(std::clamp(std::nearbyint(scaled), -127.0f, 127.0f));
  }
  return is_finite ? largest / 127.0f / std::sqrt(static_cast<float>(width)) : NAN;
}

std::shared_ptr<const WeightDecoder> make_row_codes_decoder(const RowCodesLayout& layout,
                                                            const std::byte* data) {
  return std::make_shared<RowCodesDecoder>(layout, data);
}

}  // namespace ernie_image
