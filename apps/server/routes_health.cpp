// For those who run the server: is it alive, can it serve, what does it do, what does it offer.
#include "server/api_error.h"
#include "server/embedded_page.h"
#include "server/routes.h"

namespace ernie_image {
namespace {

void show_alive(Service&, Exchange&, httplib::Response& response) {
  send_json(response, {{"status", "ok"}});
}

void show_ready(Service& service, Exchange&, httplib::Response& response) {
  const auto refuse = [&](const char* reason) {
    response.set_header("Retry-After", "5");
    send_json(response, {{"status", "not ready"}, {"reason", reason}}, 503);
  };
  if (service.is_draining()) return refuse("the server is about to stop");
  service.queue().counts();  // throws if the store cannot be reached
  if (service.workers().empty()) return refuse("no worker was heard of");
  send_json(response, {{"status", "ready"}});
}

void show_metrics(Service& service, Exchange& exchange, httplib::Response& response) {
  const bool as_open_metrics =
      exchange.head.header("accept").find("application/openmetrics-text") != std::string::npos;
  response.status = 200;
  response.set_content(service.metrics().text(service.queue(), as_open_metrics),
                       as_open_metrics
                           ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                           : "text/plain; version=0.0.4; charset=utf-8");
}

void show_document(Service&, Exchange&, httplib::Response& response) {
  response.status = 200;
  response.set_content(std::string(openapi_document()), "application/json");
}

}  // namespace

void add_health_routes(Router& router, Service& service) {
  RouteGroup routes(router, std::ref(service));
  routes.add("GET", "/healthz", show_alive, Access::open);
  routes.add("GET", "/readyz", show_ready, Access::open);
  routes.add("GET", "/metrics", show_metrics);
  routes.add("GET", "/openapi.json", show_document, Access::open);
}

}  // namespace ernie_image
