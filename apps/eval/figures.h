// Numbers as the reports print them.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

namespace ernie_image {

/// Six significant digits: "0.00765718", "41.1594".
std::string figure(double value);

/// The figure, or a dash.
std::string figure_or_dash(const std::optional<double>& value);

/// Three significant digits, for tables: "0.00766".
std::string short_figure(double value);

nlohmann::json json_or_null(const std::optional<double>& value);

}  // namespace ernie_image
