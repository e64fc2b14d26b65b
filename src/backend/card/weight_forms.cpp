// How the bytes of a file become what every card reads.
#include <cassert>
#include <cstring>

#include "backend/card/weights.h"

namespace ernie_image::card {
namespace {

/// In f32. The file's bytes may lie at any address.
Tensor widened(const Weight& weight) {
  Tensor raw = Tensor::host(weight.dtype, weight.shape);
  std::memcpy(raw.bytes(), weight.data, raw.size_bytes());
  return to_float(raw);
}

}  // namespace

WeightForm plain_form(WeightUse use) {
  if (use == WeightUse::embedding) return WeightForm::on_host;
  return use == WeightUse::vector ? WeightForm::widened : WeightForm::plain;
}

std::size_t WeightForms::bytes(const Weight& weight, WeightForm form) const {
  return form == WeightForm::widened
             ? static_cast<std::size_t>(num_elements(weight.shape)) * sizeof(float)
             : weight.size_bytes();
}

void WeightForms::fill(const WeightGroup::Entry& entry, std::byte* target, std::byte* /*scratch*/,
                       Staging& staging, const Queue& queue) const {
  const Weight& source = entry.source;
  if (entry.form == WeightForm::widened && source.dtype != DType::f32) {
    const Tensor wide = widened(source);
    staging.copy(target, wide.bytes(), wide.size_bytes(), queue);
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
