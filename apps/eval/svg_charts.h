// The two charts of the report, as inline SVG that follows the page's colours and width.
#pragma once

#include <string>
#include <vector>

namespace ernie_image {

struct Series {
  std::string label;
  std::vector<double> values;
};

/// Curves over 1, 2, 3... with a logarithmic scale of values; a value of 0 or less leaves a gap.
/// `title` and labels are plain text. Nothing to draw gives an empty string.
std::string line_chart(const std::string& title, const std::string& x_label,
                       const std::vector<Series>& series);

/// One stacked horizontal bar a row, all to one scale. Every row has as many values as there are
/// `parts`.
std::string stacked_bars(const std::string& title, const std::string& unit,
                         const std::vector<std::string>& parts, const std::vector<Series>& rows);

}  // namespace ernie_image
