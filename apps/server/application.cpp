#include "server/application.h"

#include "server/log.h"
#include "server/origin_check.h"
#include "server/routes.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxLoggedChars = 200;

bool is_json(const RequestHead& head) {
  std::string type = head.header("content-type");
  type = type.substr(0, type.find_first_of("; \t"));
  for (char& c : type) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return type == "application/json";
}

void check_body(const RequestHead& head, std::size_t max_bytes) {
  if (head.content_length > max_bytes) {
    throw ApiError(413,
                   "the request's body is larger than " + std::to_string(max_bytes) + " bytes");
  }
  // Also keeps other sites' forms out: a browser asks before it sends JSON across sites.
  if (head.content_length > 0 && !is_json(head)) {
    throw ApiError(415, "the body must be JSON, with Content-Type: application/json");
  }
}

LogLevel level_of(int status) {
  if (status == 500) return LogLevel::error;
  return status == 503 ? LogLevel::warning : LogLevel::info;
}

}  // namespace

Application::Application(Service& service) : service_(service) {
  add_health_routes(router_, service);
  add_job_routes(router_, service);
  add_openai_routes(router_, service);
  add_a1111_routes(router_, service);
  add_page_routes(router_);
}

void Application::check_key(Exchange& exchange) const {
  if (!service_.keys().are_required()) return;
  exchange.key = service_.keys().find(exchange.head.header("authorization"));
  if (exchange.key != nullptr || exchange.route->access == Access::open) return;
  throw ApiError(401, "this needs a valid API key: Authorization: Bearer KEY", "",
                 "invalid_api_key");
}

bool Application::is_answered_at_once(const RequestHead& head) const {
  return head.target == "/healthz" && (head.method == "GET" || head.method == "HEAD");
}

void Application::admit(Exchange& exchange) {
  const RequestHead& head = exchange.head;
  check_origin(head, service_.options().allowed_hosts);
  exchange.route = &router_.find(head.method, exchange.request->path, exchange);
  check_key(exchange);
  check_body(head, exchange.route->max_body_bytes);
}

void Application::respond(Exchange& exchange, httplib::Response& response) {
  exchange.route->handler(exchange, response);
  if (!response.has_header("Cache-Control")) response.set_header("Cache-Control", "no-store");
}

void Application::finished(const Exchange& exchange, int status, const std::string& failure) {
  const std::string route = exchange.route == nullptr ? "none" : exchange.route->pattern;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - exchange.start;
  service_.metrics().count_request(route, status, seconds.count());
  nlohmann::json fields = {{"request_id", exchange.id},
                           {"method", exchange.head.method},
                           {"path", exchange.head.target.substr(0, kMaxLoggedChars)},
                           {"route", route},
                           {"status", status},
                           {"bytes", exchange.connection.bytes_written()},
                           {"seconds", seconds.count()}};
  if (exchange.key != nullptr) fields["key"] = exchange.key->name;
  if (!failure.empty()) fields["failure"] = failure;
  log_event(level_of(status), "request", fields);
}

}  // namespace ernie_image
