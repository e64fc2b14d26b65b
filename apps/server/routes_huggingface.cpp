// Text to image as Hugging Face's InferenceClient asks for it: a POST to the address itself, bytes
// of a picture back.
#include "server/api_error.h"
#include "server/openai_view.h"
#include "server/routes.h"

namespace ernie_image {
namespace {

using nlohmann::json;

/// "image/webp, */*" asks for WebP, anything else for PNG.
const char* accepted_format(const std::string& accept) {
  for (const char* format : {"png", "jpeg", "webp"}) {
    if (accept.find(std::string("image/") + format) != std::string::npos) return format;
  }
  return "png";
}

JsonReader inference_fields(const Exchange& exchange) {
  const JsonReader body = fields_of(exchange);
  json fields = json::object();
  if (const auto parameters = body.object("parameters")) fields = parameters->value();
  fields.erase("scheduler");  // there is one
  fields["prompt"] = body.text("inputs");
  fields["output_format"] = accepted_format(exchange.head.header("accept"));
  const auto model = exchange.path_parameters.find("model");
  if (model != exchange.path_parameters.end()) fields["model"] = model->second;
  return {std::move(fields), body.where()};
}

void draw_for_inference_client(Service& service, Exchange& exchange, httplib::Response& response) {
  const JsonReader fields = inference_fields(exchange);
  refuse_unknown(fields, {});
  JobRequest request =
      picture_request(fields, service.workers(), service.options().limits, Naming::full, 1);
  if (prompt_of(request).empty()) refuse_field("inputs", "is required");
  const Job job = service.wait_until_final(exchange, service.submit(exchange, std::move(request)));
  require_completed(job);
  send_image(service, exchange, job.id, "0", response);
}

}  // namespace

void add_huggingface_routes(Router& router, Service& service) {
  RouteGroup routes(router, std::ref(service));
  for (const char* pattern : {"/", "/v1", "/models/{model...}"})
    routes.add("POST", pattern, draw_for_inference_client);
}

}  // namespace ernie_image
