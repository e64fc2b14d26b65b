#include "backend/ascend/weights.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <thread>
#include <vector>

#include "backend/ascend/device.h"
#include "core/packed_weight.h"
#include "core/start_thread.h"
#include "core/unpack_weight.h"
#include "ernie_image/error.h"

namespace ernie_image::ascend {
namespace {

using card::WeightForm;

/// Where codes and scales of [N, K] lie; kernels may read past the end of each.
struct Int8Layout {
  explicit Int8Layout(const Shape& shape)
      : scale_offset(
            (static_cast<std::size_t>(num_elements(shape)) + kSpareBytes + kAlignment - 1) /
            kAlignment * kAlignment),
        bytes(scale_offset + static_cast<std::size_t>(shape[0]) * sizeof(float)) {}

  static constexpr std::size_t kAlignment = 512;
  std::size_t scale_offset, bytes;
};

/// Row `row` of a weight in any format, as the file means it.
void read_row(const Weight& weight, std::int64_t row, std::span<float> target) {
  const std::int64_t depth = weight.shape[1];
  if (is_packed(weight.format)) {
    unpack_row(weight, row, target.data());
  } else if (weight.format == WeightFormat::encoded) {
    weight.decoder->decode(row * depth, depth, target.data());
  } else {
    widen_elements(weight, row * depth, depth, target.data());
  }
}

/// A row with a number that is not finite has the scale NaN, and with it all results of the column.
float quantize_row(std::span<const float> row, std::int8_t* codes) {
  float largest = 0;
  bool is_finite = true;
  for (const float value : row) {
    is_finite = is_finite && std::isfinite(value);
    largest = std::max(largest, std::abs(value));
  }
  const float inverse = is_finite && largest > 0 ? 127.0f / largest : 0.0f;
  for (std::size_t k = 0; k < row.size(); ++k) {
    const float scaled = is_finite ? row[k] * inverse : 0.0f;
    codes[k] = static_cast<std::int8_t>(std::clamp(std::nearbyint(scaled), -127.0f, 127.0f));
  }
  return is_finite ? largest / 127.0f : NAN;
}

/// Rows [begin, begin + count), by all threads of the host.
void quantize_rows(const Weight& weight, std::int64_t begin, std::int64_t count, std::int8_t* codes,
                   float* scales) {
  const std::int64_t depth = weight.shape[1], width = rotation_width(depth);
  // Activations are multiplied by 1 and -1 alone.
  const float norm = std::sqrt(static_cast<float>(width));
  const auto threads = std::clamp<std::int64_t>(std::thread::hardware_concurrency(), 1,
                                                std::max<std::int64_t>(1, count / 16));
  std::vector<std::future<void>> parts;
  for (std::int64_t part = 0; part < threads; ++part) {
    parts.push_back(start_task([=, &weight] {
      std::vector<float> row(static_cast<std::size_t>(depth));
      for (std::int64_t i = part * count / threads; i < (part + 1) * count / threads; ++i) {
        read_row(weight, begin + i, row);
        rotate_row(row, width);
        scales[i] = quantize_row(row, codes + i * depth) / norm;
      }
    }));
  }
  for (std::future<void>& part : parts) part.get();
}

/// A part of the rows at a time, so that the host holds little beside.
void fill_int8(const Weight& weight, std::byte* target, card::Staging& staging,
               const card::Queue& queue) {
  constexpr std::int64_t kCodes = std::int64_t{1} << 23;
  const std::int64_t rows = weight.shape[0], depth = weight.shape[1];
  const std::int64_t most = std::clamp<std::int64_t>(kCodes / depth, 1, rows);
  const Tensor codes = Tensor::host(DType::i8, {most, depth});
  const Tensor scales = Tensor::host(DType::f32, {rows});
  for (std::int64_t begin = 0; begin < rows; begin += most) {
    const std::int64_t count = std::min(most, rows - begin);
    auto* const part = reinterpret_cast<std::int8_t*>(codes.bytes());
    quantize_rows(weight, begin, count, part, scales.data<float>() + begin);
    staging.copy(target + begin * depth, codes.bytes(), static_cast<std::size_t>(count * depth),
                 queue);
  }
  staging.copy(target + Int8Layout(weight.shape).scale_offset, scales.bytes(), scales.size_bytes(),
               queue);
}

/// Vectors of bf16 stay so: beside activations of bf16 they need no conversion in each layer.
WeightForm form_of(const Weight& weight, WeightUse use, bool is_quantised) {
  if (is_quantised) return WeightForm::int8_rows;
  const bool narrow = use == WeightUse::vector && weight.dtype == DType::bf16 &&
                      weight.format == WeightFormat::plain;
  return narrow ? WeightForm::plain : card::plain_form(use);
}

}  // namespace

std::size_t WeightForms::bytes(const Weight& weight, WeightForm form) const {
  return form == WeightForm::int8_rows ? Int8Layout(weight.shape).bytes
                                       : card::WeightForms::bytes(weight, form);
}

void WeightForms::fill(const card::WeightGroup::Entry& entry, std::byte* target, std::byte* scratch,
                       card::Staging& staging, const card::Queue& queue) const {
  if (entry.form == WeightForm::int8_rows) {
    fill_int8(entry.source, target, staging, queue);
  } else {
    card::WeightForms::fill(entry, target, scratch, staging, queue);
  }
}

WeightHandle prepare(card::WeightStore& weights, const Weight& weight, WeightUse use,
                     Quantization quantization) {
  const bool is_quantised =
      is_packed(weight.format) || (use == WeightUse::linear && quantization != Quantization::none);
  if (is_quantised) {
    if (quantization == Quantization::int4 && !is_packed(weight.format)) {
      throw Error(ErrorKind::unsupported,
                  "ascend: --quant int4 is not supported; take --quant int8, or a model that "
                  "`ernie-image quantize` wrote");
    }
    require_int8(weight.name, weight.shape);
  }
  return weights.prepare(weight, form_of(weight, use, is_quantised));
}

bool is_int8(const PreparedWeight& weight) {
  return card::as_card_weight(weight).form == WeightForm::int8_rows;
}

Int8Rows int8_rows(card::WeightStore& weights, const PreparedWeight& prepared) {
  const card::CardWeight& weight = card::as_card_weight(prepared);
  const Shape& shape = weight.source.shape;
  std::byte* const data = weights.resident(prepared);
  return {{DType::i8, shape, data, weight.group},
          {DType::f32, {shape[0]}, data + Int8Layout(shape).scale_offset, weight.group}};
}

}  // namespace ernie_image::ascend
