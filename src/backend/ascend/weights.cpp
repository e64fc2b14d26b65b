#include "backend/ascend/weights.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <optional>
#include <thread>
#include <vector>

#include "backend/ascend/device.h"
#include "core/row_codes.h"
#include "core/start_thread.h"
#include "ernie_image/error.h"

namespace ernie_image::ascend {
namespace {

using card::WeightForm;

/// Where codes and scales of [N, K] lie; kernels may read past the end of each.
struct Int8Layout {
  Int8Layout(const Shape& shape, bool in_blocks)
      : codes(in_blocks ? Int8Blocks(shape).size() : num_elements(shape)),
        scale_offset((static_cast<std::size_t>(codes) + kSpareBytes + kAlignment - 1) / kAlignment *
                     kAlignment),
        bytes(scale_offset + static_cast<std::size_t>(shape[0]) * sizeof(float)) {}

  static constexpr std::size_t kAlignment = 512;
  std::int64_t codes;
  std::size_t scale_offset, bytes;
};

/// Of a file that was made for such cards.
std::optional<RowCodes> stored_codes(const Weight& weight) {
  return weight.format == WeightFormat::encoded ? weight.decoder->row_codes() : std::nullopt;
}

/// Rows [begin, begin + count), by all threads of the host.
void quantize_rows(const Weight& weight, std::int64_t begin, std::int64_t count, std::int8_t* codes,
                   float* scales) {
  const std::int64_t depth = weight.shape[1];
  const auto threads = std::clamp<std::int64_t>(std::thread::hardware_concurrency(), 1,
                                                std::max<std::int64_t>(1, count / 16));
  std::vector<std::future<void>> parts;
  for (std::int64_t part = 0; part < threads; ++part) {
    parts.push_back(start_task([=, &weight] {
      std::vector<float> row(static_cast<std::size_t>(depth));
      for (std::int64_t i = part * count / threads; i < (part + 1) * count / threads; ++i) {
        scales[i] = make_row_codes(weight, begin + i, row, codes + i * depth);
      }
    }));
  }
  for (std::future<void>& part : parts) part.get();
}

/// Rows from `begin` on to where they lie in blocks.
void put_in_blocks(const Shape& shape, std::int64_t begin, std::int64_t count,
                   const std::int8_t* rows, std::int8_t* target) {
  const Int8Blocks blocks(shape);
  const std::int64_t depth = shape[1];
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t k = 0; k < depth; k += Int8Blocks::kDepth)
      std::copy_n(rows + i * depth + k, std::min(Int8Blocks::kDepth, depth - k),
                  target + blocks.index(begin + i, k));
  }
}

/// Rows [begin, begin + count) as the file has them, or made of its numbers.
void read_codes(const Weight& weight, std::int64_t begin, std::int64_t count, std::int8_t* codes,
                float* scales) {
  const auto stored = stored_codes(weight);
  if (!stored) return quantize_rows(weight, begin, count, codes, scales);
  const auto rows = static_cast<std::size_t>(count);
  std::memcpy(codes, stored->codes + begin * weight.shape[1],
              rows * static_cast<std::size_t>(weight.shape[1]));
  std::memcpy(scales, stored->scales + begin * std::int64_t{sizeof(float)}, rows * sizeof(float));
}

/// A part of the rows at a time, so that the host holds little beside; in blocks, whose parts lie
/// all over the weight, all codes.
void fill_int8(const Weight& weight, bool in_blocks, std::byte* target, card::Staging& staging,
               const card::Queue& queue) {
  constexpr std::int64_t kCodes = std::int64_t{1} << 23;
  const Int8Layout layout(weight.shape, in_blocks);
  const std::int64_t rows = weight.shape[0], depth = weight.shape[1];
  const std::int64_t most = std::clamp<std::int64_t>(kCodes / depth, 1, rows);
  const Tensor codes = Tensor::host(DType::i8, {most, depth});
  const Tensor blocks = Tensor::host(DType::i8, {in_blocks ? layout.codes : 0});
  const Tensor scales = Tensor::host(DType::f32, {rows});
  const auto numbers = [](const Tensor& tensor) {
    return reinterpret_cast<std::int8_t*>(tensor.bytes());
  };
  for (std::int64_t begin = 0; begin < rows; begin += most) {
    const std::int64_t count = std::min(most, rows - begin);
    read_codes(weight, begin, count, numbers(codes), scales.data<float>() + begin);
    if (in_blocks) {
      put_in_blocks(weight.shape, begin, count, numbers(codes), numbers(blocks));
    } else {
      staging.copy(target + begin * depth, codes.bytes(), static_cast<std::size_t>(count * depth),
                   queue);
    }
  }
  if (in_blocks) staging.copy(target, blocks.bytes(), blocks.size_bytes(), queue);
  staging.copy(target + layout.scale_offset, scales.bytes(), scales.size_bytes(), queue);
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
  return form == WeightForm::int8_rows ? Int8Layout(weight.shape, in_blocks_).bytes
                                       : card::WeightForms::bytes(weight, form);
}

void WeightForms::fill(const card::WeightGroup::Entry& entry, std::byte* target, std::byte* scratch,
                       card::Staging& staging, const card::Queue& queue) const {
  if (entry.form == WeightForm::int8_rows) {
    fill_int8(entry.source, in_blocks_, target, staging, queue);
  } else {
    card::WeightForms::fill(entry, target, scratch, staging, queue);
  }
}

WeightHandle prepare(card::WeightStore& weights, const WeightForms& forms, const Weight& weight,
                     WeightUse use, Quantization quantization) {
  const bool is_quantised = is_packed(weight.format) ||
                            (use == WeightUse::linear && (quantization != Quantization::none ||
                                                          stored_codes(weight).has_value()));
  if (is_quantised) {
    if (quantization == Quantization::int4 && !is_packed(weight.format)) {
      throw Error(ErrorKind::unsupported,
                  "ascend: --quant int4 is not supported; take --quant int8, or a model that "
                  "`ernie-image quantize` wrote");
    }
    require_int8(weight.name, weight.shape, forms.in_blocks());
  }
  return weights.prepare(weight, form_of(weight, use, is_quantised));
}

bool is_int8(const PreparedWeight& weight) {
  return card::as_card_weight(weight).form == WeightForm::int8_rows;
}

Int8Rows int8_rows(card::WeightStore& weights, const WeightForms& forms,
                   const PreparedWeight& prepared) {
  const card::CardWeight& weight = card::as_card_weight(prepared);
  const Shape& shape = weight.source.shape;
  std::byte* const data = weights.resident(prepared);
  const Int8Layout layout(shape, forms.in_blocks());
  return {{DType::i8, shape, data, weight.group},
          {DType::f32, {shape[0]}, data + layout.scale_offset, weight.group},
          forms.in_blocks() ? layout.codes : 0};
}

}  // namespace ernie_image::ascend
