// How the bytes of a file become what every card reads.
#include <algorithm>
#include <cstring>

#include "backend/card/weights.h"

namespace ernie_image::card {
namespace {

/// A part at a time: the whole of a large weight in f32 need not be there.
void copy_expanded(const Weight& source, std::byte* target, Staging& staging, const Queue& queue) {
  constexpr std::int64_t kElements = 1 << 20;
  const std::int64_t total = num_elements(source.shape);
  for (std::int64_t begin = 0; begin < total; begin += kElements) {
    Tensor values = Tensor::host(DType::f32, {std::min(kElements, total - begin)});
    source.decoder->decode(begin, values.size(), values.data<float>());
    const Tensor rounded = round_to(values, source.dtype);
    staging.copy(target, rounded.bytes(), rounded.size_bytes(), queue);
    target += rounded.size_bytes();
  }
}

Tensor decoded_rows(std::span<const std::int32_t> ids, const Weight& source, DType dtype) {
  const std::int64_t width = source.shape[1];
  Tensor rows = Tensor::host(DType::f32, {std::ssize(ids), width});
  for (std::size_t i = 0; i < ids.size() && !rows.is_booked(); ++i) {
    source.decoder->decode(ids[i] * width, width,
                           rows.data<float>() + static_cast<std::int64_t>(i) * width);
  }
  return round_to(rows, dtype);
}

}  // namespace

WeightForm plain_form(WeightUse use) {
  if (use == WeightUse::embedding) return WeightForm::on_host;
  return use == WeightUse::vector ? WeightForm::widened : WeightForm::plain;
}

std::size_t WeightForms::bytes(const Weight& weight, WeightForm form) const {
  const auto elements = static_cast<std::size_t>(num_elements(weight.shape));
  if (form == WeightForm::widened) return elements * sizeof(float);
  return weight.format == WeightFormat::encoded ? elements * size_of(weight.dtype)
                                                : weight.size_bytes();
}

void WeightForms::fill(const WeightGroup::Entry& entry, std::byte* target, std::byte* /*scratch*/,
                       Staging& staging, const Queue& queue) const {
  const Weight& source = entry.source;
  if (entry.form == WeightForm::widened &&
      (source.dtype != DType::f32 || source.format == WeightFormat::encoded)) {
    const Tensor wide = widened(source);
    staging.copy(target, wide.bytes(), wide.size_bytes(), queue);
  } else if (source.format == WeightFormat::encoded) {
    copy_expanded(source, target, staging, queue);
  } else {
    staging.copy(target, source.data, source.size_bytes(), queue);
  }
}

void WeightForms::fill(const WeightGroup& group, std::byte* target, std::byte* scratch,
                       Staging& staging, const Queue& queue) const {
  if (group.device->rehearses()) return;
  for (const WeightGroup::Entry& entry : group.entries)
    fill(entry, target + entry.offset, scratch, staging, queue);
}

Tensor embedding_rows(std::span<const std::int32_t> ids, const PreparedWeight& table, DType dtype) {
  const Weight& source = as_card_weight(table).source;
  if (source.format == WeightFormat::encoded) return decoded_rows(ids, source, dtype);
  Tensor rows = Tensor::host(source.dtype, {std::ssize(ids), source.shape[1]});
  if (rows.is_booked()) return rows.dtype() == dtype ? rows : round_to(to_float(rows), dtype);
  const std::size_t row_bytes = static_cast<std::size_t>(source.shape[1]) * size_of(source.dtype);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::memcpy(rows.bytes() + i * row_bytes,
                source.data + static_cast<std::size_t>(ids[i]) * row_bytes, row_bytes);
  }
  return rows.dtype() == dtype ? rows : round_to(to_float(rows), dtype);
}

}  // namespace ernie_image::card
