#include "adapters/weight_rows.h"

#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "core/unpack_weight.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kBlockRows = 64;

// Rows for which threads are not worth starting.
constexpr std::int64_t kFewRows = 512;

/// Elements [begin, begin + count) of a weight that is not packed.
void read_elements(const Weight& weight, std::int64_t begin, std::int64_t count, float* target) {
  const bool is_wide = weight.format == WeightFormat::plain && weight.dtype == DType::f64;
  if (!is_wide) {
    if (weight.format != WeightFormat::encoded && !is_weight_number(weight.dtype)) {
      throw Error(ErrorKind::unsupported, weight.name + ": type " +
                                              std::string(dtype_name(weight.dtype)) +
                                              ", expected F32, F16, BF16 or F64");
    }
    return widen_elements(weight, begin, count, target);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    double value = 0;
    std::memcpy(&value, weight.data + sizeof(value) * static_cast<std::size_t>(begin + i),
                sizeof(value));
    target[i] = static_cast<float>(value);
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
  if (!is_packed(weight.format)) return read_elements(weight, begin * width, count * width, target);
  for (std::int64_t row = begin; row < begin + count; ++row, target += width)
    unpack_row(weight, row, target);
}

Tensor weight_values(const Weight& weight) {
  Tensor values = Tensor::host(DType::f32, weight.shape);
  read_elements(weight, 0, values.size(), values.data<float>());
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
