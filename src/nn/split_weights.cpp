#include "nn/split_weights.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/unpack_weight.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

/// A rectangle of a matrix in any format.
class PartDecoder final : public WeightDecoder {
 public:
  PartDecoder(Weight whole, std::int64_t first_row, std::int64_t first_column, std::int64_t columns)
      : whole_(std::move(whole)),
        first_row_(first_row),
        first_column_(first_column),
        columns_(columns) {}

  std::string_view name() const override { return "a part of a weight"; }

  void decode(std::int64_t begin, std::int64_t count, float* target) const override {
    for (std::int64_t at = begin; at < begin + count;) {
      const std::int64_t column = at % columns_;
      const std::int64_t length = std::min(columns_ - column, begin + count - at);
      read(first_row_ + at / columns_, first_column_ + column, length, target);
      target += length;
      at += length;
    }
  }

  /// Of whole rows.
  std::optional<RowCodes> row_codes() const override {
    const auto rows = whole_.format == WeightFormat::encoded ? whole_.decoder->row_codes()
                                                             : std::optional<RowCodes>();
    if (!rows || columns_ != whole_.shape[1]) return std::nullopt;
    return RowCodes{rows->codes + first_row_ * columns_,
                    rows->scales + first_row_ * std::int64_t{sizeof(float)}};
  }

 private:
  void read(std::int64_t row, std::int64_t column, std::int64_t count, float* target) const {
    if (!is_packed(whole_.format))
      return widen_elements(whole_, row * whole_.shape[1] + column, count, target);
    std::vector<float> values(static_cast<std::size_t>(whole_.shape[1]));
    unpack_row(whole_, row, values.data());
    std::copy_n(values.begin() + column, count, target);
  }

  Weight whole_;
  std::int64_t first_row_, first_column_, columns_;
};

Weight part_of(const Weight& whole, std::int64_t first_row, std::int64_t rows,
               std::int64_t first_column, std::int64_t columns) {
  Weight part = whole;
  part.shape = {rows, columns};
  if (whole.data == nullptr) return part;
  part.format = WeightFormat::encoded;
  part.packed_bytes = whole.size_bytes() * static_cast<std::size_t>(num_elements(part.shape)) /
                      static_cast<std::size_t>(num_elements(whole.shape));
  // What a card may have to expand it to.
  if (is_packed(whole.format)) part.dtype = DType::bf16;
  if (whole.dtype == DType::f16) part.dtype = DType::f32;
  part.decoder = std::make_shared<PartDecoder>(whole, first_row, first_column, columns);
  return part;
}

}  // namespace

Weight rows_of(const Weight& weight, const WeightShare& share) {
  const std::int64_t rows = share.of(weight.shape[0]), first = share.rank * rows;
  if (share.is_all()) return weight;
  if (weight.format != WeightFormat::plain) return part_of(weight, first, rows, 0, weight.shape[1]);
  Weight part = weight;
  part.shape[0] = rows;
  if (weight.data != nullptr)
    part.data += static_cast<std::size_t>(first * weight.shape[1]) * size_of(weight.dtype);
  return part;
}

Weight columns_of(const Weight& weight, const WeightShare& share) {
  const std::int64_t columns = share.of(weight.shape[1]);
  if (share.is_all()) return weight;
  return part_of(weight, 0, weight.shape[0], share.rank * columns, columns);
}

void require_divides(const WeightShare& share, std::int64_t count, const char* what) {
  if (count % share.ranks == 0) return;
  throw Error(ErrorKind::unsupported, std::to_string(share.ranks) + " cards cannot share the " +
                                          std::to_string(count) + " " + what +
                                          " evenly; take as many as divide it, or "
                                          "--parallel-weights whole");
}

Tensor SplitWeights::sum(Backend& ops, const Tensor& part) const {
  if (share_.is_all()) return part;
  return group_ == nullptr ? ops.empty(part.dtype(), part.shape()) : group_->all_reduce(part);
}

}  // namespace ernie_image
