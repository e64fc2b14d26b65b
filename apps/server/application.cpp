#include "server/application.h"

#include "server/form_data.h"
#include "server/log.h"
#include "server/origin_check.h"
#include "server/routes.h"
#include "server/spooled_text.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxLoggedChars = 200;
// As it grows, as JSON, decoded: 64 bodies of 24 MB took 5.6 GB.
constexpr std::size_t kBodyCopies = 4;

/// After it is known that the path takes the method at all.
void check_body(const RequestHead& head, const Route& route) {
  if (head.content_length > 0 && route.method == "GET") {
    throw ApiError(400, "malformed request: a " + head.method + " has no body");
  }
  if (head.content_length > route.max_body_bytes) {
    throw ApiError(413, "the request's body is larger than " +
                            std::to_string(route.max_body_bytes) + " bytes");
  }
  if (route.takes_forms && is_form_data(head.header("content-type"))) return;
  // Also keeps other sites' forms out: a browser asks before it sends JSON across sites.
  if (head.content_length > 0 && media_type(head.header("content-type")) != "application/json") {
    throw ApiError(415, "the body must be JSON, with Content-Type: application/json" +
                            std::string(route.takes_forms ? ", or multipart/form-data" : ""));
  }
}

/// Links to files work for whoever has them: their signatures are nobody's to read.
std::string logged_path(const Exchange& exchange) {
  if (exchange.route != nullptr &&
      exchange.route->pattern.find("{signature}") != std::string::npos) {
    return exchange.route->pattern;
  }
  const std::string path = exchange.head.target.substr(0, kMaxLoggedChars);
  const std::size_t files = path.find("/files/");
  return files == std::string::npos ? path : path.substr(0, files) + "/files/...";
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
  add_huggingface_routes(router_, service);
  add_ollama_routes(router_, service);
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
  check_body(head, *exchange.route);
  exchange.memory = service_.memory().share(exchange.connection.client_group());
  exchange.memory->take(kBodyCopies * head.content_length);
}

void Application::respond(Exchange& exchange, httplib::Response& response) {
  exchange.route->handler(exchange, response);
  // From here on a client that reads nothing keeps what is left.
  drop_body(exchange);
  spool(response);
  exchange.memory->set(response.body.size());
  if (!response.has_header("Cache-Control")) response.set_header("Cache-Control", "no-store");
}

void Application::finished(const Exchange& exchange, int status, const std::string& failure) {
  const std::string route = exchange.route == nullptr ? "none" : exchange.route->pattern;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - exchange.start;
  service_.metrics().count_request(route, status, seconds.count());
  nlohmann::json fields = {{"request_id", exchange.id},
                           {"method", exchange.head.method},
                           {"path", logged_path(exchange)},
                           {"client", exchange.connection.client()},
                           {"route", route},
                           {"status", status},
                           {"bytes", exchange.connection.bytes_written()},
                           {"seconds", seconds.count()}};
  if (exchange.key != nullptr) fields["key"] = exchange.key->name;
  // What a proxy says, or anybody else who asks.
  const std::string forwarded = exchange.head.header("x-forwarded-for");
  if (!forwarded.empty()) fields["forwarded_for"] = forwarded.substr(0, kMaxLoggedChars);
  if (!failure.empty()) fields["failure"] = failure;
  log_event(level_of(status), "request", fields);
}

}  // namespace ernie_image
