#include "adapters/merged_weight.h"

#include <algorithm>

#include "adapters/weight_rows.h"

namespace ernie_image {

Tensor merged_weight(const Weight& weight, const std::vector<AdapterChange>& changes) {
  Tensor sum = Tensor::host(DType::f32, weight.shape);
  const std::int64_t width = weight.shape.size() > 1 ? weight.shape[1] : 1;
  for_each_row_block(weight.shape[0], [&](std::int64_t begin, std::int64_t count) {
    std::vector<float> rows(static_cast<std::size_t>(count * width));
    read_rows(weight, begin, count, rows.data());
    float* const target = sum.data<float>() + begin * width;
    std::ranges::copy(rows, target);
    for (const AdapterChange& change : changes) {
      if (change.module->changes_weight())
        change.module->add_rows(change.strength, *change.gains, begin, count, rows.data(), target);
    }
  });
  return sum;
}

}  // namespace ernie_image
