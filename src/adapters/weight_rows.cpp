#include "adapters/weight_rows.h"

#include <algorithm>
#include <cstring>

#include "core/half.h"
#include "core/thread_pool.h"
#include "core/unpack_weight.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kBlockRows = 64;

// Rows for which threads are not worth starting.
constexpr std::int64_t kFewRows = 512;

std::uint16_t half_at(const std::byte* source, std::int64_t index) {
  std::uint16_t bits;
  std::memcpy(&bits, source + 2 * index, sizeof(bits));
  return bits;
}

void widen(DType dtype, const std::byte* source, std::int64_t count, float* target,
           const std::string& name) {
  switch (dtype) {
    case DType::f32:
      std::memcpy(target, source, static_cast<std::size_t>(count) * sizeof(float));
      return;
    case DType::bf16:
      for (std::int64_t i = 0; i < count; ++i) target[i] = bf16_to_float(half_at(source, i));
      return;
    case DType::f16:
      for (std::int64_t i = 0; i < count; ++i) target[i] = f16_to_float(half_at(source, i));
      return;
    case DType::f64:
      for (std::int64_t i = 0; i < count; ++i) {
        double value;
        std::memcpy(&value, source + 8 * i, sizeof(value));
        target[i] = static_cast<float>(value);
      }
      return;
    default:
      throw Error(ErrorKind::unsupported, name + ": type " + std::string(dtype_name(dtype)) +
                                              ", expected F32, F16, BF16 or F64");
  }
}

std::int64_t row_width(const Weight& weight) {
  return weight.shape.empty() || weight.shape[0] == 0
             ? 1
             : num_elements(weight.shape) / weight.shape[0];
}

}  // namespace

void read_rows(const Weight& weight, std::int64_t begin, std::int64_t count, float* target) {
  const std::int64_t width = row_width(weight);
  if (weight.format != WeightFormat::plain) {
    for (std::int64_t row = begin; row < begin + count; ++row, target += width)
      unpack_row(weight, row, target);
    return;
  }
  const std::byte* const source =
      weight.data + static_cast<std::size_t>(begin * width) * size_of(weight.dtype);
  widen(weight.dtype, source, count * width, target, weight.name);
}

Tensor weight_values(const Weight& weight) {
  Tensor values = Tensor::host(DType::f32, weight.shape);
  widen(weight.dtype, weight.data, values.size(), values.data<float>(), weight.name);
  return values;
}

void for_each_row_block(std::int64_t rows,
                        const std::function<void(std::int64_t, std::int64_t)>& body) {
  const std::int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  const auto run = [&](std::int64_t block) {
    const std::int64_t begin = block * kBlockRows;
    body(begin, std::min(kBlockRows, rows - begin));
  };
  if (rows <= kFewRows) {
    for (std::int64_t block = 0; block < blocks; ++block) run(block);
    return;
  }
  ThreadPool pool(static_cast<int>(std::min<std::int64_t>(blocks, available_cpus())));
  pool.parallel_for(blocks, [&](std::int64_t block, int) { run(block); });
}

}  // namespace ernie_image
