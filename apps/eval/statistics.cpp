#include "eval/statistics.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include <nlohmann/json.hpp>

namespace ernie_image {
namespace {

double quantile(const std::vector<double>& sorted, double share) {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], position - static_cast<double>(below));
}

}  // namespace

Statistics statistics_of(std::vector<double> values) {
  assert(!values.empty());
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  Statistics result;
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  result.min = values.front();
  result.max = values.back();
  result.median = quantile(values, 0.5);
  result.p95 = quantile(values, 0.95);
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  if (values.size() > 1) result.standard_deviation = std::sqrt(squares / (count - 1));
  return result;
}

nlohmann::json to_json(const Statistics& statistics) {
  return {{"mean", statistics.mean}, {"min", statistics.min},
          {"max", statistics.max},   {"median", statistics.median},
          {"p95", statistics.p95},   {"standard_deviation", statistics.standard_deviation}};
}

}  // namespace ernie_image
