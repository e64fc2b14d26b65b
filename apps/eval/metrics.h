// The figures of two pictures, as JSON and as text.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "metrics/image_metrics.h"

namespace ernie_image {

/// Absent figures are null.
nlohmann::json to_json(const ImageMetrics& metrics);

/// One figure a line.
std::string to_text(const ImageMetrics& metrics);

}  // namespace ernie_image
