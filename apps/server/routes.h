// One function for each API: adds its routes.
#pragma once

#include "server/router.h"
#include "server/service.h"

namespace ernie_image {

/// /v1/jobs, /v1/queue, /v1/capabilities
void add_job_routes(Router& router, Service& service);
/// /v1/images/generations and /v1/models, also below /llm/lmapi/v3
void add_openai_routes(Router& router, Service& service);
/// /sdapi/v1
void add_a1111_routes(Router& router, Service& service);
/// /healthz, /readyz, /metrics, /openapi.json
void add_health_routes(Router& router, Service& service);
/// The web page
void add_page_routes(Router& router);

}  // namespace ernie_image
