#include "backend/cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <thread>

#include "core/start_thread.h"
#include "ernie_image/error.h"

namespace ernie_image::cuda {
namespace {

/// A packed weight that is quantised here; a copy in the host's memory, since it takes long.
Weight packed_copy(const Weight& weight, WeightFormat format) {
  const PackedLayout layout(format, weight.shape);
  Weight packed = weight;
  packed.decoder = nullptr;
  packed.dtype = DType::i8;
  packed.format = format;
  packed.packed_bytes = layout.size_bytes();
  if (is_booked(weight.data)) return packed;
  const auto records = std::make_shared<Tensor>(
      Tensor::host(DType::i8, {static_cast<std::int64_t>(layout.size_bytes())}));
  const auto threads = std::max<std::int64_t>(1, std::thread::hardware_concurrency());
  std::vector<std::future<void>> parts;
  for (std::int64_t part = 0; part < threads; ++part) {
    parts.push_back(start_task([&, part] {
      for (std::int64_t panel = part; panel < layout.panels; panel += threads) {
        const auto offset = static_cast<std::size_t>(panel) * layout.record_bytes();
        pack_panel(layout, weight, panel, records->bytes() + offset);
      }
    }));
  }
  for (std::future<void>& part : parts) part.get();
  packed.data = records->bytes();
  packed.owner = records;
  return packed;
}

void require_whole(const Weight& weight) {
  const std::size_t expected = PackedLayout(weight.format, weight.shape).size_bytes();
  if (weight.packed_bytes == expected) return;
  throw Error(ErrorKind::corrupt_file, "weight " + weight.name + " " +
                                           ernie_image::to_string(weight.shape) + " is packed in " +
                                           std::to_string(weight.packed_bytes) +
                                           " bytes, expected " + std::to_string(expected));
}

WeightForm form_of(const Weight& weight, WeightUse use, Quantization quantization) {
  if (use == WeightUse::conv2d) return WeightForm::filters;
  if (weight.format == WeightFormat::packed_int4) return WeightForm::int4;
  if (weight.format == WeightFormat::packed_int8 || quantization == Quantization::int8)
    return WeightForm::int8_rows;
  return card::plain_form(use);
}

/// [O, C, k, k] to [O, k, k, C].
Tensor channels_last(const Weight& weight) {
  Tensor target = Tensor::host(weight.dtype, weight.shape);
  const std::int64_t channels = weight.shape[1], taps = weight.shape[2] * weight.shape[3];
  const std::size_t size = size_of(weight.dtype);
  for (std::int64_t output = 0; output < weight.shape[0]; ++output) {
    const std::size_t filter = static_cast<std::size_t>(output * channels * taps);
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        const auto from = filter + static_cast<std::size_t>(channel * taps + tap);
        const auto to = filter + static_cast<std::size_t>(tap * channels + channel);
        std::memcpy(target.bytes() + to * size, weight.data + from * size, size);
      }
    }
  }
  return target;
}

/// What is to be rounded lies in `scratch`: the file's rows, or behind the records the numbers that
/// they stand for.
void fill_int8(const Weight& source, std::byte* target, std::byte* scratch, card::Staging& staging,
               const card::Queue& queue) {
  const std::int64_t rows = source.shape[0], depth = source.shape[1];
  const Int8Layout layout(rows, depth);
  auto* const codes = reinterpret_cast<std::int8_t*>(target);
  auto* const scales = reinterpret_cast<float*>(target + layout.scale_offset);
  if (source.format == WeightFormat::encoded)
    return fill_int8(expanded(source), target, scratch, staging, queue);
  staging.copy(scratch, source.data, source.size_bytes(), queue);
  if (source.format == WeightFormat::plain) {
    quantize_rows(cuda_stream(queue), source.dtype, scratch, rows, depth, rotation_width(depth),
                  codes, scales);
    return;
  }
  const PackedLayout packed(source.format, source.shape);
  std::byte* const numbers = scratch + packed.size_bytes();
  unpack_rows(cuda_stream(queue), packed, scratch, DType::f32, numbers);
  quantize_rows(cuda_stream(queue), DType::f32, numbers, rows, packed.depth, 1, codes, scales);
}

}  // namespace

std::size_t WeightForms::bytes(const Weight& weight, WeightForm form) const {
  return form == WeightForm::int8_rows ? Int8Layout(weight.shape[0], weight.shape[1]).bytes
                                       : card::WeightForms::bytes(weight, form);
}

std::size_t WeightForms::scratch_bytes(const Weight& weight, WeightForm form) const {
  if (form != WeightForm::int8_rows) return 0;
  if (weight.format == WeightFormat::encoded)
    return static_cast<std::size_t>(num_elements(weight.shape)) * size_of(weight.dtype);
  if (weight.format == WeightFormat::plain) return weight.size_bytes();
  const PackedLayout packed(weight.format, weight.shape);
  return packed.size_bytes() +
         static_cast<std::size_t>(packed.outputs * packed.depth) * sizeof(float);
}

void WeightForms::fill(const card::WeightGroup::Entry& entry, std::byte* target, std::byte* scratch,
                       card::Staging& staging, const card::Queue& queue) const {
  const Weight& source = entry.source;
  if (entry.form == WeightForm::int8_rows) {
    fill_int8(source, target, scratch, staging, queue);
  } else if (entry.form == WeightForm::filters && source.shape[2] * source.shape[3] > 1) {
    const Tensor turned = channels_last(expanded(source));
    staging.copy(target, turned.bytes(), turned.size_bytes(), queue);
  } else {
    card::WeightForms::fill(entry, target, scratch, staging, queue);
  }
}

WeightHandle prepare(card::WeightStore& weights, const Weight& weight, WeightUse use,
                     Quantization quantization) {
  Weight source = weight;
  if (weight.data != nullptr && is_packed(weight.format)) require_whole(weight);
  if (weight.data != nullptr && !is_packed(weight.format) && quantization == Quantization::int4 &&
      use == WeightUse::linear)
    source = packed_copy(weight, WeightFormat::packed_int4);
  return weights.prepare(source, form_of(source, use, quantization));
}

Int8Rows int8_rows(card::WeightStore& weights, const PreparedWeight& prepared) {
  const card::CardWeight& weight = card::as_card_weight(prepared);
  const std::int64_t rows = weight.source.shape[0], depth = weight.source.shape[1];
  std::byte* const data = weights.resident(prepared);
  const Int8Layout layout(rows, depth);
  return {{DType::i8, {rows, padded_depth(depth)}, data, weight.group},
          {DType::f32, {rows}, data + layout.scale_offset, weight.group}};
}

}  // namespace ernie_image::cuda
