#include "eval/figures.h"

#include <cstdio>

namespace ernie_image {

std::string figure(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

std::string short_figure(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", value);
  return text;
}

std::string figure_or_dash(const std::optional<double>& value) {
  return value ? figure(*value) : "\u2013";
}

nlohmann::json json_or_null(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

}  // namespace ernie_image
