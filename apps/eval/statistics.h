// The spread of repeated measurements.
#pragma once

#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ernie_image {

struct Statistics {
  double mean = 0;
  double min = 0;
  double max = 0;
  double median = 0;
  double p95 = 0;                 ///< interpolated linearly between the samples around it
  double standard_deviation = 0;  ///< of the sample (n - 1); 0 for one value
};

/// `values` must not be empty.
Statistics statistics_of(std::vector<double> values);

nlohmann::json to_json(const Statistics& statistics);

}  // namespace ernie_image
