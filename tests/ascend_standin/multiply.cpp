// The loops in which nearly all time of the stand-in goes: goldens of full-width layers are tens
// of GFLOP. They are compiled without sanitizers, which would make it tens of times as slow: the
// arrays are the stand-in's own, made by its operations for these very sizes.
#include <algorithm>

#include "operation.h"

namespace standin {

#if defined(__x86_64__)
__attribute__((target_clones("default", "avx2,fma")))
#endif
void multiply_transposed(const float* a, const float* b, float* y, std::int64_t rows,
                         std::int64_t depth, std::int64_t columns) {
  constexpr int kLanes = 16;
  constexpr int kRows = 4;  // of `a` for one pass over a row of `b`
  const bool backwards = is_perturbed();
  for (std::int64_t first = 0; first < rows; first += kRows) {
    const std::int64_t count = std::min<std::int64_t>(kRows, rows - first);
    for (std::int64_t n = 0; n < columns; ++n) {
      float sums[kRows][kLanes] = {};
      const float* const weight = b + n * depth;
      std::int64_t k = 0;
      for (; k + kLanes <= depth; k += kLanes) {
        for (std::int64_t m = 0; m < count; ++m) {
          const float* const x = a + (first + m) * depth + k;
          for (int lane = 0; lane < kLanes; ++lane) sums[m][lane] += x[lane] * weight[k + lane];
        }
      }
      for (std::int64_t m = 0; m < count; ++m) {
        float sum = 0;
        for (int lane = 0; lane < kLanes; ++lane)
          sum += sums[m][backwards ? kLanes - 1 - lane : lane];
        for (std::int64_t rest = k; rest < depth; ++rest)
          sum += a[(first + m) * depth + rest] * weight[rest];
        y[(first + m) * columns + n] = sum;
      }
    }
  }
}

#if defined(__x86_64__)
__attribute__((target_clones("default", "avx2")))
#endif
std::int32_t
dot_product(const std::int8_t* a, const std::int8_t* b, std::int64_t depth) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < depth; ++k)
    sum += static_cast<std::int32_t>(a[k]) * static_cast<std::int32_t>(b[k]);
  return sum;
}

}  // namespace standin
