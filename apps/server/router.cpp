#include "server/router.h"

#include <string_view>

#include "server/api_error.h"

namespace ernie_image {
namespace {

using Parameters = std::map<std::string, std::string>;

std::string_view take_part(std::string_view& path) {
  const std::size_t end = path.find('/');
  const std::string_view part = path.substr(0, end);
  path = end == std::string_view::npos ? std::string_view() : path.substr(end);
  return part;
}

bool matches(std::string_view pattern, std::string_view path, Parameters& parameters) {
  while (!pattern.empty() && !path.empty()) {
    if (pattern.front() != '/' || path.front() != '/') return false;
    pattern.remove_prefix(1);
    path.remove_prefix(1);
    const std::string_view expected = take_part(pattern);
    if (expected.ends_with("...}")) {
      parameters[std::string(expected.substr(1, expected.size() - 5))] = path;
      return !path.empty();
    }
    const std::string_view part = take_part(path);
    if (expected.starts_with('{')) {
      if (part.empty()) return false;
      parameters[std::string(expected.substr(1, expected.size() - 2))] = part;
    } else if (expected != part) {
      return false;
    }
  }
  return pattern.empty() && path.empty();
}

}  // namespace

void Router::add_alias(const std::string& begin, const std::string& prefix) {
  const std::size_t count = routes_.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (!routes_[i].pattern.starts_with(begin)) continue;
    Route route = routes_[i];
    route.pattern = prefix + route.pattern.substr(begin.size());
    routes_.push_back(std::move(route));
  }
}

const Route& Router::find(const std::string& method, const std::string& path,
                          Exchange& exchange) const {
  std::string allowed;
  for (const Route& route : routes_) {
    Parameters parameters;
    if (!matches(route.pattern, path, parameters)) continue;
    if (route.method == method || (method == "HEAD" && route.method == "GET")) {
      exchange.path_parameters = std::move(parameters);
      return route;
    }
    if (!allowed.empty()) allowed += ", ";
    allowed += route.method;
    if (route.method == "GET") allowed += ", HEAD";
  }
  if (allowed.empty()) throw not_found("path");
  ApiError error(405, "this path takes " + allowed, "", "method_not_allowed");
  error.allow = allowed;
  throw error;
}

}  // namespace ernie_image
