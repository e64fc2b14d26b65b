// How the bytes of a file become what the kernels read.
#include <algorithm>
#include <cstring>

#include "backend/cuda/upload.h"
#include "backend/cuda/weights.h"

namespace ernie_image::cuda {
namespace {

std::size_t elements(const Weight& weight) {
  return static_cast<std::size_t>(num_elements(weight.shape));
}

/// A mapped weight as a tensor of its own; the file's bytes may lie at any address.
Tensor host_copy(const Weight& weight) {
  Tensor copy = Tensor::host(weight.dtype, weight.shape);
  std::memcpy(copy.bytes(), weight.data, copy.size_bytes());
  return copy;
}

/// [O, C, k, k] to [O, k, k, C].
Tensor channels_last(const Weight& weight) {
  const Tensor source = host_copy(weight);
  Tensor target = Tensor::host(weight.dtype, weight.shape);
  const std::int64_t channels = weight.shape[1], taps = weight.shape[2] * weight.shape[3];
  const std::size_t size = size_of(weight.dtype);
  for (std::int64_t output = 0; output < weight.shape[0]; ++output) {
    const std::size_t filter = static_cast<std::size_t>(output * channels * taps);
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        const auto from = filter + static_cast<std::size_t>(channel * taps + tap);
        const auto to = filter + static_cast<std::size_t>(tap * channels + channel);
        std::memcpy(target.bytes() + to * size, source.bytes() + from * size, size);
      }
    }
  }
  return target;
}

/// What is to be rounded lies in `scratch`: the file's rows, or behind the records the numbers that
/// they stand for.
void fill_int8(const Weight& source, std::byte* target, std::byte* scratch, Staging& staging,
               const Queue& queue) {
  const std::int64_t rows = source.shape[0], depth = source.shape[1];
  const Int8Layout layout(rows, depth);
  auto* const codes = reinterpret_cast<std::int8_t*>(target);
  auto* const scales = reinterpret_cast<float*>(target + layout.scale_offset);
  staging.copy(scratch, source.data, source.size_bytes(), queue);
  if (source.format == WeightFormat::plain) {
    quantize_rows(queue.get(), source.dtype, scratch, rows, depth, rotation_width(depth), codes,
                  scales);
    return;
  }
  const PackedLayout packed(source.format, source.shape);
  std::byte* const numbers = scratch + packed.size_bytes();
  unpack_rows(queue.get(), packed, scratch, DType::f32, numbers);
  quantize_rows(queue.get(), DType::f32, numbers, rows, packed.depth, 1, codes, scales);
}

}  // namespace

std::size_t form_bytes(const Weight& weight, WeightForm form) {
  switch (form) {
    case WeightForm::widened:
      return elements(weight) * sizeof(float);
    case WeightForm::int8_rows:
      return Int8Layout(weight.shape[0], weight.shape[1]).bytes;
    default:
      return weight.size_bytes();
  }
}

std::size_t form_scratch_bytes(const Weight& weight, WeightForm form) {
  if (form != WeightForm::int8_rows) return 0;
  if (weight.format == WeightFormat::plain) return weight.size_bytes();
  const PackedLayout packed(weight.format, weight.shape);
  return packed.size_bytes() +
         static_cast<std::size_t>(packed.outputs * packed.depth) * sizeof(float);
}

void fill(const WeightGroup& group, std::byte* target, std::byte* scratch, Staging& staging,
          const Queue& queue) {
  for (const WeightGroup::Entry& entry : group.entries) {
    const Weight& source = entry.source;
    std::byte* const place = target + entry.offset;
    if (entry.form == WeightForm::int8_rows) {
      fill_int8(source, place, scratch, staging, queue);
    } else if (entry.form == WeightForm::filters && source.shape[2] * source.shape[3] > 1) {
      const Tensor turned = channels_last(source);
      staging.copy(place, turned.bytes(), turned.size_bytes(), queue);
    } else if (entry.form == WeightForm::widened && source.dtype != DType::f32) {
      const Tensor wide = to_float(host_copy(source));
      staging.copy(place, wide.bytes(), wide.size_bytes(), queue);
    } else {
      staging.copy(place, source.data, source.size_bytes(), queue);
    }
  }
}

}  // namespace ernie_image::cuda
