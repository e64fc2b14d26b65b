// One function for each API: adds its routes.
#pragma once

#include <functional>
#include <utility>

#include "server/router.h"
#include "server/service.h"

namespace ernie_image {

/// Adds routes whose handlers have their first argument in common: `std::ref(service)`, or a
/// pointer to the object that they are members of.
template <class Shared>
class RouteGroup {
 public:
  RouteGroup(Router& router, Shared shared) : router_(router), shared_(std::move(shared)) {}

  template <class Function>
  void add(const char* method, const char* pattern, Function function,
           Access access = Access::with_key, std::size_t max_body_bytes = Route{}.max_body_bytes,
           bool takes_forms = false) {
    router_.add(
        {method, pattern, std::bind_front(function, shared_), access, max_body_bytes, takes_forms});
  }

 private:
  Router& router_;
  Shared shared_;
};

/// /v1/jobs, /v1/queue, /v1/capabilities
void add_job_routes(Router& router, Service& service);
/// /v1/images/generations and /v1/models, also below /llm/lmapi/v3
void add_openai_routes(Router& router, Service& service);
/// /sdapi/v1
void add_a1111_routes(Router& router, Service& service);
/// POST /, /v1 and /models/NAME
void add_huggingface_routes(Router& router, Service& service);
/// /api
void add_ollama_routes(Router& router, Service& service);
/// /healthz, /readyz, /metrics, /openapi.json
void add_health_routes(Router& router, Service& service);
/// The web page
void add_page_routes(Router& router);

}  // namespace ernie_image
