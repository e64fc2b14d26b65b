// The OpenAI Images API.
#include <chrono>

#include "server/api_error.h"
#include "server/event_stream.h"
#include "server/job_follower.h"
#include "server/openai_view.h"
#include "server/routes.h"
#include "server/signed_link.h"

namespace ernie_image {
namespace {

using nlohmann::json;

class OpenAiStream {
 public:
  OpenAiStream(Service& service, const Exchange& exchange, OpenAiRequest request, const Job& job)
      : service_(service),
        exchange_(exchange),
        request_(std::move(request)),
        job_(service, job.id) {}

  bool next(EventSink& sink) {
    const JobNews news = job_.next();
    if (news.job && news.preview) {
      sink.send(openai_event(request_, "partial_image"),
                openai_partial_image(request_, *news.job, *news.preview, partial_index_++));
    }
    if (news.job && news.is_over) send_result(*news.job, sink);
    return !news.is_over;
  }

 private:
  void send_result(const Job& job, EventSink& sink) {
    require_completed(job);
    take_memory_for_images(exchange_, job);
    for (std::size_t i = 0; i < job.images.size(); ++i) {
      if (job.images[i].is_removed) continue;
      sink.send(openai_event(request_, "completed"),
                openai_completed_image(service_, request_, job, static_cast<int>(i)));
    }
  }

  Service& service_;
  const Exchange& exchange_;  ///< which lives as long as its response
  OpenAiRequest request_;
  StreamedJob job_;
  int partial_index_ = 0;
};

void answer(Service& service, Exchange& exchange, httplib::Response& response,
            OpenAiRequest request) {
  const Job job = service.submit(exchange, std::move(request.job));
  request.job = job.request;  // without the pixels
  forget_body(exchange);
  if (request.wants_stream) {
    const auto stream = std::make_shared<OpenAiStream>(service, exchange, request, job);
    send_events(exchange, response, [stream](EventSink& sink) { return stream->next(sink); });
    return;
  }
  const Job finished = service.wait_until_final(exchange, job);
  if (!request.wants_url) take_memory_for_images(exchange, finished);
  send_json(response, openai_response(service, exchange, request, finished));
}

void generate(Service& service, Exchange& exchange, httplib::Response& response) {
  answer(service, exchange, response, parse_openai_request(fields_of(exchange), service));
}

OpenAiRequest request_with_picture(Service& service, const Exchange& exchange, OpenAiKind kind) {
  const auto [fields, upload] = upload_request(exchange);
  return parse_openai_request(fields, service, kind, upload);
}

void edit(Service& service, Exchange& exchange, httplib::Response& response) {
  answer(service, exchange, response, request_with_picture(service, exchange, OpenAiKind::edit));
}

void vary(Service& service, Exchange& exchange, httplib::Response& response) {
  answer(service, exchange, response,
         request_with_picture(service, exchange, OpenAiKind::variation));
}

json model_object(const std::string& model) {
  return {{"id", model}, {"object", "model"}, {"created", 0}, {"owned_by", "baidu"}};
}

void list_models(Service& service, const Exchange&, httplib::Response& response) {
  json data = json::array();
  for (const std::string& model : model_names(service.workers())) {
    data.push_back(model_object(model));
  }
  send_json(response, {{"object", "list"}, {"data", data}});
}

void show_model(Service& service, const Exchange& exchange, httplib::Response& response) {
  const std::vector<WorkerInfo> workers = service.workers();
  const std::string& name = exchange.path_parameters.at("model");
  send_json(response,
            model_object(worker_for(name, workers, service.options().limits.model_aliases).model));
}

std::int64_t now_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

/// The picture of a link that openai_response gave.
void show_file(Service& service, const Exchange& exchange, httplib::Response& response) {
  const auto& path = exchange.path_parameters;
  const std::string& id = path.at("id");
  const bool is_good = service.keys().are_required() &&
                       is_signed(service.keys().shared_secret(), id, path.at("index"),
                                 path.at("expires"), path.at("signature"), now_seconds());
  if (!is_good) throw not_found("picture, or its link has expired");
  send_image(service, exchange, id, path.at("index"), response);
}

}  // namespace

void add_openai_routes(Router& router, Service& service) {
  RouteGroup routes(router, std::ref(service));
  routes.add("POST", "/v1/images/generations", generate);
  routes.add("POST", "/v1/images/edits", edit, Access::with_key, kMaxUploadBytes, true);
  routes.add("POST", "/v1/images/variations", vary, Access::with_key, kMaxUploadBytes, true);
  routes.add("GET", "/v1/models", list_models);
  routes.add("GET", "/v1/models/{model...}", show_model);
  routes.add("GET", "/v1/files/{id}/{index}/{expires}/{signature}", show_file, Access::open);
  // Where clients of Baidu AI Studio look.
  router.add_alias("/v1/images", "/llm/lmapi/v3/images");
  router.add_alias("/v1/models", "/llm/lmapi/v3/models");
}

}  // namespace ernie_image
