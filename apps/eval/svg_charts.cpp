#include "eval/svg_charts.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <numeric>

#include "eval/figures.h"
#include "eval/html.h"

namespace ernie_image {
namespace {

constexpr double kWidth = 640;
constexpr double kLeft = 64;  // room for the numbers of the axis
constexpr double kRight = 16;

/// Classes c0..c5 of the page's style sheet.
std::string colour_class(std::size_t index) {
  constexpr const char* kClasses[] = {"c0", "c1", "c2", "c3", "c4", "c5"};
  return kClasses[index % std::size(kClasses)];
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", value);
  return text;
}

std::string text_at(double x, double y, const std::string& anchor, const std::string& text) {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\">" +
         escape_html(text) + "</text>";
}

std::string open_svg(const std::string& title, double height) {
  return "<svg viewBox=\"0 0 " + number(kWidth) + " " + number(height) +
         "\" role=\"img\" aria-label=\"" + escape_html(title) + "\">";
}

std::string legend(const std::vector<std::string>& labels) {
  std::string html = "<p class=\"legend\">";
  for (std::size_t i = 0; i < labels.size(); ++i) {
    html += "<span><i class=\"" + colour_class(i) + "\"></i>" + escape_html(labels[i]) + "</span> ";
  }
  return html + "</p>";
}

/// Where values lie in a chart with powers of ten for lines.
class LogScale {
 public:
  explicit LogScale(const std::vector<Series>& series) {
    double low = std::numeric_limits<double>::infinity(), high = 0;
    for (const Series& one : series) {
      for (const double value : one.values) {
        if (!(value > 0) || !std::isfinite(value)) continue;
        low = std::min(low, value);
        high = std::max(high, value);
      }
      steps_ = std::max(steps_, one.values.size());
    }
    empty_ = high <= 0;
    if (empty_) return;
    low_ = static_cast<int>(std::floor(std::log10(low)));
    high_ = std::max(low_ + 1, static_cast<int>(std::ceil(std::log10(high))));
  }

  bool empty() const { return empty_; }
  int low() const { return low_; }
  int high() const { return high_; }
  std::size_t steps() const { return steps_; }

  double x(std::size_t step) const {
    const auto last = static_cast<double>(std::max<std::size_t>(steps_ - 1, 1));
    return kLeft + static_cast<double>(step) / last * (kWidth - kLeft - kRight);
  }
  double y(double power) const { return kTop + (high_ - power) / (high_ - low_) * kPlotHeight; }

  static constexpr double kTop = 12;
  static constexpr double kPlotHeight = 220;

 private:
  bool empty_ = true;
  int low_ = 0, high_ = 1;
  std::size_t steps_ = 0;
};

std::string grid(const LogScale& scale, const std::string& x_label) {
  std::string svg;
  for (int power = scale.low(); power <= scale.high(); ++power) {
    const double y = scale.y(power);
    svg += "<path class=\"grid\" d=\"M" + number(kLeft) + " " + number(y) + "H" +
           number(kWidth - kRight) + "\"/>" +
           text_at(kLeft - 8, y + 4, "end", "1e" + std::to_string(power));
  }
  const std::size_t stride = scale.steps() / 10 + 1;
  const double below = LogScale::kTop + LogScale::kPlotHeight + 20;
  for (std::size_t i = 0; i < scale.steps(); i += stride) {
    svg += text_at(scale.x(i), below, "middle", std::to_string(i + 1));
  }
  return svg + text_at(kWidth - kRight, below + 20, "end", x_label);
}

std::string curve(const LogScale& scale, const Series& series, std::size_t index) {
  std::string path, dots;
  bool pen_down = false;
  for (std::size_t i = 0; i < series.values.size(); ++i) {
    const double value = series.values[i];
    const bool drawable = value > 0 && std::isfinite(value);
    if (drawable) {
      const std::string x = number(scale.x(i)), y = number(scale.y(std::log10(value)));
      path += (pen_down ? "L" : "M") + x + " " + y;
      dots += "<circle class=\"" + colour_class(index) + "\" cx=\"" + x + "\" cy=\"" + y +
              "\" r=\"3.5\"><title>" + escape_html(series.label) + ", " + std::to_string(i + 1) +
              ": " + figure(value) + "</title></circle>";
    }
    pen_down = drawable;
  }
  return "<path class=\"curve " + colour_class(index) + "\" d=\"" + path + "\"/>" + dots;
}

double total(const Series& row) {
  return std::accumulate(row.values.begin(), row.values.end(), 0.0);
}

}  // namespace

std::string line_chart(const std::string& title, const std::string& x_label,
                       const std::vector<Series>& series) {
  const LogScale scale(series);
  if (scale.empty()) return "";
  std::string svg = open_svg(title, LogScale::kTop + LogScale::kPlotHeight + 48);
  svg += grid(scale, x_label);
  std::vector<std::string> labels;
  for (std::size_t i = 0; i < series.size(); ++i) {
    svg += curve(scale, series[i], i);
    labels.push_back(series[i].label);
  }
  return svg + "</svg>" + legend(labels);
}

std::string stacked_bars(const std::string& title, const std::string& unit,
                         const std::vector<std::string>& parts, const std::vector<Series>& rows) {
  double longest = 0;
  for (const Series& row : rows) longest = std::max(longest, total(row));
  if (longest <= 0) return "";
  constexpr double kRowHeight = 44;
  const double scale = (kWidth - kRight - 90) / longest;  // 90: the number behind the bar
  std::string svg = open_svg(title, kRowHeight * static_cast<double>(rows.size()));
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double top = kRowHeight * static_cast<double>(r);
    double x = 0;
    svg += text_at(0, top + 14, "start", rows[r].label);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const double width = std::max(0.0, rows[r].values[i]) * scale;
      svg += "<rect class=\"" + colour_class(i) + "\" x=\"" + number(x) + "\" y=\"" +
             number(top + 20) + "\" width=\"" + number(width) + "\" height=\"16\"><title>" +
             escape_html(parts[i]) + ": " + figure(rows[r].values[i]) + " " + escape_html(unit) +
             "</title></rect>";
      x += width;
    }
    svg += text_at(x + 6, top + 33, "start", short_figure(total(rows[r])) + " " + unit);
  }
  return svg + "</svg>" + legend(parts);
}

}  // namespace ernie_image
