// Which handler a method and a path lead to.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "server/exchange.h"

namespace ernie_image {

using RouteHandler = std::function<void(Exchange&, httplib::Response&)>;

enum class Access { with_key, open };

struct Route {
  std::string method;  ///< of GET routes HEAD is served too
  /// "/v1/jobs/{id}": a part in braces takes any text without a slash; a last one that ends in
  /// three dots, "/v1/models/{model...}", the rest of the path.
  std::string pattern;
  RouteHandler handler;
  Access access = Access::with_key;
  std::size_t max_body_bytes = 1 << 20;
  bool takes_forms = false;       ///< besides JSON
  bool has_plain_errors = false;  ///< {"error": message}, not OpenAI's object
};

class Router {
 public:
  void add(Route route) { routes_.push_back(std::move(route)); }
  /// The same for paths that begin with `prefix` instead of `begin`.
  void add_alias(const std::string& begin, const std::string& prefix);

  /// Fills in `exchange.path_parameters`. `path` is decoded and without a query. Throws
  /// ApiError(404 | 405).
  const Route& find(const std::string& method, const std::string& path, Exchange& exchange) const;

 private:
  std::vector<Route> routes_;
};

}  // namespace ernie_image
