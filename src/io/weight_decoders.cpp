#include "io/weight_decoders.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>
#include <vector>

#include "core/half.h"
#include "io/small_floats.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kChunk = 256;  // elements that are worked on at a time

std::uint8_t byte_at(const std::byte* data, std::int64_t index) {
  return std::to_integer<std::uint8_t>(data[index]);
}

/// Element `index` of a tensor of F32, F16 or BF16 at any address.
float number_at(const Weight& tensor, std::int64_t index) {
  float value = 0;
  widen_elements(tensor, index, 1, &value);
  return value;
}

class PlainScales final : public Scales {
 public:
  PlainScales(const Weight& tensor, std::int64_t rows, std::int64_t groups)
      : tensor_(tensor), row_stride_(rows > 1 ? groups : 0), group_stride_(groups > 1 ? 1 : 0) {
    if (size_of(tensor.dtype) == 1) bytes_ = byte_values(tensor.dtype);
  }

  float at(std::int64_t row, std::int64_t group) const override {
    const std::int64_t index = row * row_stride_ + group * group_stride_;
    if (size_of(tensor_.dtype) == 1) return bytes_[byte_at(tensor_.data, index)];
    return number_at(tensor_, index);
  }

 private:
  Weight tensor_;
  std::int64_t row_stride_, group_stride_;
  std::array<float, 256> bytes_{};
};

class SwizzledScales final : public Scales {
 public:
  SwizzledScales(const Weight& tensor, DType dtype, std::int64_t groups)
      : tensor_(tensor), tiles_(groups / 4), values_(byte_values(dtype)) {}

  float at(std::int64_t row, std::int64_t group) const override {
    const std::int64_t index = ((row / 128) * tiles_ + group / 4) * 512 + (row % 32) * 16 +
                               (row % 128) / 32 * 4 + group % 4;
    return values_[byte_at(tensor_.data, index)];
  }

 private:
  Weight tensor_;
  std::int64_t tiles_;
  std::array<float, 256> values_;
};

class NestedScales final : public Scales {
 public:
  NestedScales(const Weight& codes, const Weight& map, const Weight& nested, std::int64_t block,
               float offset)
      : codes_(codes), nested_(nested), block_(block), offset_(offset) {
    widen_elements(map, 0, std::ssize(map_), map_.data());
  }

  float at(std::int64_t /*row*/, std::int64_t group) const override {
    return map_[byte_at(codes_.data, group)] * number_at(nested_, group / block_) + offset_;
  }

 private:
  Weight codes_, nested_;
  std::int64_t block_;
  float offset_;
  std::array<float, 256> map_{};
};

class PackedRowNumbers final : public Scales {
 public:
  PackedRowNumbers(const Weight& tensor, std::int64_t groups) : tensor_(tensor), groups_(groups) {}

  float at(std::int64_t row, std::int64_t group) const override {
    const std::int64_t byte = (row / 8 * groups_ + group) * 4 + row % 8 / 2;
    return static_cast<float>(byte_at(tensor_.data, byte) >> (4 * (row % 2)) & 15);
  }

 private:
  Weight tensor_;
  std::int64_t groups_;
};

class NamedDecoder : public WeightDecoder {
 public:
  explicit NamedDecoder(std::string name) : name_(std::move(name)) {}
  std::string_view name() const override { return name_; }

 private:
  std::string name_;
};

class CodeDecoder final : public NamedDecoder {
 public:
  CodeDecoder(std::string name, const CodeGrid& codes, const CodeScaling& scaling,
              std::shared_ptr<const void> owner)
      : NamedDecoder(std::move(name)), codes_(codes), scaling_(scaling), owner_(std::move(owner)) {
    if (scaling_.group == 0) scaling_.group = codes_.columns;
  }

  void decode(std::int64_t begin, std::int64_t count, float* target) const override {
    assert(begin >= 0 && begin + count <= codes_.rows * codes_.columns);
    while (count > 0) {
      const std::int64_t row = begin / codes_.columns, column = begin % codes_.columns;
      const std::int64_t group = column / scaling_.group;
      const std::int64_t run =
          std::min({count, codes_.columns - column, (group + 1) * scaling_.group - column});
      read(row, column, run, target);
      scale(row, group, run, target);
      begin += run;
      count -= run;
      target += run;
    }
  }

 private:
  void read(std::int64_t row, std::int64_t column, std::int64_t count, float* target) const {
    const std::int64_t first = row * codes_.stride + column;
    switch (codes_.order) {
      case CodeGrid::Order::bytes:
        if (codes_.transposed) {
          for (std::int64_t i = 0; i < count; ++i)
            target[i] = codes_.values[byte_at(codes_.data, (column + i) * codes_.rows + row)];
        } else {
          for (std::int64_t i = 0; i < count; ++i)
            target[i] = codes_.values[byte_at(codes_.data, first + i)];
        }
        return;
      case CodeGrid::Order::low_first:
      case CodeGrid::Order::high_first: {
        const std::int64_t upper = codes_.order == CodeGrid::Order::low_first ? 1 : 0;
        for (std::int64_t i = 0; i < count; ++i) {
          const int shift = (first + i) % 2 == upper ? 4 : 0;
          target[i] = codes_.values[byte_at(codes_.data, (first + i) / 2) >> shift & 15];
        }
        return;
      }
      case CodeGrid::Order::halves: {
        const std::int64_t half = codes_.rows / 2;
        const int shift = row >= half ? 4 : 0;
        const std::byte* source = codes_.data + row % half * codes_.stride + column;
        for (std::int64_t i = 0; i < count; ++i)
          target[i] = codes_.values[byte_at(source, i) >> shift & 15];
        return;
      }
    }
  }

  void scale(std::int64_t row, std::int64_t group, std::int64_t count, float* target) const {
    const float factor = scaling_.scale == nullptr
                             ? scaling_.factor
                             : scaling_.scale->at(row, group) * scaling_.factor;
    const float before = scaling_.before == nullptr ? 0 : scaling_.before->at(row, group);
    const float after =
        scaling_.after == nullptr ? 0 : scaling_.after_sign * scaling_.after->at(row, group);
    for (std::int64_t i = 0; i < count; ++i) target[i] = (target[i] - before) * factor + after;
  }

  CodeGrid codes_;
  CodeScaling scaling_;
  std::shared_ptr<const void> owner_;
};

class PlainDecoder final : public WeightDecoder {
 public:
  explicit PlainDecoder(const Weight& weight) : weight_(weight) {}
  std::string_view name() const override { return dtype_name(weight_.dtype); }
  void decode(std::int64_t begin, std::int64_t count, float* target) const override {
    widen_elements(weight_, begin, count, target);
  }

 private:
  Weight weight_;
};

/// What changes the values of another decoder, whose name it keeps.
class WrappingDecoder : public WeightDecoder {
 public:
  explicit WrappingDecoder(Decoder inner) : inner_(std::move(inner)) {}
  std::string_view name() const override { return inner_->name(); }
  bool is_readable() const override { return inner_->is_readable(); }

 protected:
  Decoder inner_;
};

class FactorDecoder final : public WrappingDecoder {
 public:
  FactorDecoder(Decoder inner, float factor) : WrappingDecoder(std::move(inner)), factor_(factor) {}
  void decode(std::int64_t begin, std::int64_t count, float* target) const override {
    inner_->decode(begin, count, target);
    for (std::int64_t i = 0; i < count; ++i) target[i] *= factor_;
  }

 private:
  float factor_;
};

class RotatedDecoder final : public WrappingDecoder {
 public:
  RotatedDecoder(Decoder inner, std::int64_t group)
      : WrappingDecoder(std::move(inner)), group_(group) {}

  void decode(std::int64_t begin, std::int64_t count, float* target) const override {
    std::array<float, 4096> whole;
    while (count > 0) {
      const std::int64_t skipped = begin % group_;
      const std::int64_t wanted = std::min(count, group_ - skipped);
      inner_->decode(begin - skipped, group_, whole.data());
      rotate(whole.data());
      std::copy_n(whole.data() + skipped, wanted, target);
      begin += wanted;
      count -= wanted;
      target += wanted;
    }
  }

 private:
  void rotate(float* x) const {
    for (std::int64_t step = 1; step < group_; step *= 4) {
      for (std::int64_t i = 0; i < group_; ++i) {
        if (i / step % 4 != 0) continue;
        const float a = x[i], b = x[i + step], c = x[i + 2 * step], d = x[i + 3 * step];
        x[i] = 0.5f * (a + b + c - d);
        x[i + step] = 0.5f * (a + b - c + d);
        x[i + 2 * step] = 0.5f * (a - b + c + d);
        x[i + 3 * step] = 0.5f * (-a + b + c + d);
      }
    }
  }

  std::int64_t group_;
};

class LowRankDecoder final : public WrappingDecoder {
 public:
  LowRankDecoder(Decoder inner, const Weight& up, const Weight& down)
      : WrappingDecoder(std::move(inner)), up_(up), down_(down) {}

  void decode(std::int64_t begin, std::int64_t count, float* target) const override {
    inner_->decode(begin, count, target);
    const std::int64_t rank = down_.shape[0], columns = down_.shape[1];
    while (count > 0) {
      const std::int64_t row = begin / columns, column = begin % columns;
      const std::int64_t run = std::min({count, columns - column, kChunk});
      std::array<float, kChunk> values;
      for (std::int64_t r = 0; r < rank; ++r) {
        const float factor = number_at(up_, row * rank + r);
        widen_elements(down_, r * columns + column, run, values.data());
        for (std::int64_t i = 0; i < run; ++i)
          target[i] += factor * values[static_cast<std::size_t>(i)];
      }
      begin += run;
      count -= run;
      target += run;
    }
  }

 private:
  Weight up_, down_;
};

/// Element (row, column) is found at (of(row), column) of the other decoder.
class RowsDecoder : public WrappingDecoder {
 public:
  RowsDecoder(Decoder inner, std::int64_t columns, std::int64_t stored_columns)
      : WrappingDecoder(std::move(inner)), columns_(columns), stored_columns_(stored_columns) {}

  void decode(std::int64_t begin, std::int64_t count, float* target) const override {
    while (count > 0) {
      const std::int64_t row = begin / columns_, column = begin % columns_;
      const std::int64_t run = std::min(count, columns_ - column);
      inner_->decode(stored_row(row) * stored_columns_ + column, run, target);
      begin += run;
      count -= run;
      target += run;
    }
  }

 protected:
  virtual std::int64_t stored_row(std::int64_t row) const { return row; }

 private:
  std::int64_t columns_, stored_columns_;
};

class HeadOrderDecoder final : public RowsDecoder {
 public:
  HeadOrderDecoder(Decoder inner, std::int64_t head_dim, std::int64_t columns)
      : RowsDecoder(std::move(inner), columns, columns), head_dim_(head_dim) {}

  BlockFormat block_format() const override { return inner_->block_format(); }
  const std::byte* block_row(std::int64_t row, std::int64_t columns) const override {
    return inner_->block_row(stored_row(row), columns);
  }

 private:
  std::int64_t stored_row(std::int64_t row) const override {
    const std::int64_t half = head_dim_ / 2, within = row % head_dim_;
    return row - within + 2 * (within % half) + within / half;
  }

  std::int64_t head_dim_;
};

class UnreadableDecoder final : public NamedDecoder {
 public:
  using NamedDecoder::NamedDecoder;
  bool is_readable() const override { return false; }
  void decode(std::int64_t, std::int64_t count, float* target) const override {
    std::fill_n(target, count, 0.0f);
  }
};

}  // namespace

ScalesPtr make_scales(const Weight& tensor, std::int64_t rows, std::int64_t groups) {
  return std::make_shared<PlainScales>(tensor, rows, groups);
}

ScalesPtr make_swizzled_scales(const Weight& tensor, DType dtype, std::int64_t padded_groups) {
  return std::make_shared<SwizzledScales>(tensor, dtype, padded_groups);
}

ScalesPtr make_nested_scales(const Weight& codes, const Weight& map, const Weight& nested,
                             std::int64_t block, float offset) {
  return std::make_shared<NestedScales>(codes, map, nested, block, offset);
}

ScalesPtr make_packed_row_numbers(const Weight& tensor, std::int64_t groups) {
  return std::make_shared<PackedRowNumbers>(tensor, groups);
}

Decoder make_code_decoder(std::string name, const CodeGrid& codes, const CodeScaling& scaling,
                          std::shared_ptr<const void> owner) {
  return std::make_shared<CodeDecoder>(std::move(name), codes, scaling, std::move(owner));
}

Decoder make_plain_decoder(const Weight& weight) { return std::make_shared<PlainDecoder>(weight); }

Decoder make_factor_decoder(Decoder inner, float factor) {
  return std::make_shared<FactorDecoder>(std::move(inner), factor);
}

Decoder make_rotated_decoder(Decoder inner, std::int64_t group) {
  return std::make_shared<RotatedDecoder>(std::move(inner), group);
}

Decoder make_low_rank_decoder(Decoder inner, const Weight& up, const Weight& down) {
  return std::make_shared<LowRankDecoder>(std::move(inner), up, down);
}

Decoder make_head_order_decoder(Decoder inner, std::int64_t head_dim, std::int64_t columns) {
  return std::make_shared<HeadOrderDecoder>(std::move(inner), head_dim, columns);
}

Decoder make_cropped_decoder(Decoder inner, std::int64_t columns, std::int64_t stored_columns) {
  return std::make_shared<RowsDecoder>(std::move(inner), columns, stored_columns);
}

Decoder make_unreadable(std::string name) {
  return std::make_shared<UnreadableDecoder>(std::move(name));
}

}  // namespace ernie_image
