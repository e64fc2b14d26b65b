// Ollama's API, as far as it makes pictures.
#include <chrono>

#include "ernie_image/pipeline.h"
#include "server/api_error.h"
#include "server/base64.h"
#include "server/event_stream.h"
#include "server/job_follower.h"
#include "server/log.h"
#include "server/openai_view.h"
#include "server/routes.h"

namespace ernie_image {
namespace {

using nlohmann::json;

std::string time_text(std::int64_t milliseconds) {
  return utc_time(std::chrono::system_clock::time_point(std::chrono::milliseconds(milliseconds)));
}

/// "emoji-tiny:latest" is "emoji-tiny": what follows a colon is a tag, of which there is one.
std::string without_tag(const std::string& name) {
  const std::size_t colon = name.rfind(':');
  const bool is_tag = colon != std::string::npos && name.find('/', colon) == std::string::npos;
  return is_tag ? name.substr(0, colon) : name;
}

json details_of(const WorkerInfo& worker) {
  return {{"parent_model", ""},          {"format", "safetensors"}, {"family", "ernie-image"},
          {"families", {"ernie-image"}}, {"parameter_size", ""},    {"quantization_level", ""},
          {"device", worker.device}};
}

json model_of(const std::string& name, const WorkerInfo& worker) {
  return {{"name", name + ":latest"},
          {"model", name + ":latest"},
          {"modified_at", time_text(0)},
          {"size", 0},
          {"digest", ""},
          {"details", details_of(worker)}};
}

JsonReader ollama_fields(const JsonReader& body) {
  json fields = json::object();
  const auto take = [&](const char* from, const char* to) {
    if (body.has(from)) fields[to] = *body.find(from);
  };
  if (const json* images = body.find("images"); images != nullptr && !images->empty())
    refuse_field("images", "cannot be sent here; POST /v1/images/edits takes pictures");
  take("prompt", "prompt");
  take("width", "width");
  take("height", "height");
  take("steps", "num_inference_steps");
  fields["model"] = without_tag(body.text("model", ""));
  if (const auto options = body.object("options")) {
    if (options->has("seed")) fields["seed"] = *options->find("seed");
  }
  return {std::move(fields), body.where()};
}

json said_of(const Job& job) {
  return {{"model", job.request.model}, {"created_at", time_text(job.created_ms)}};
}

json progress_line(const Job& job) {
  json line = said_of(job);
  const bool draws = job.progress.stage == "transformer";
  line.update({{"response", ""},
               {"completed", draws ? job.progress.step : 0},
               {"total", job.request.num_inference_steps},
               {"done", false}});
  return line;
}

json result_line(Service& service, const Exchange& exchange, const Job& job) {
  require_completed(job);
  take_memory_for_images(exchange, job);
  constexpr std::int64_t kNanoseconds = 1'000'000;  // of a millisecond
  json line = said_of(job);
  line.update({{"response", ""},
               {"image", base64(image_bytes(service, job, 0))},
               {"seed", job.images.front().seed},
               {"done", true},
               {"done_reason", "stop"},
               {"total_duration", (job.finished_ms - job.created_ms) * kNanoseconds},
               {"load_duration", (job.started_ms - job.created_ms) * kNanoseconds}});
  return line;
}

/// False once the job is over.
bool send_line(StreamedJob& job, Service& service, const Exchange& exchange, EventSink& sink) {
  const JobNews news = job.next();
  if (news.job) {
    sink.send("",
              news.is_over ? result_line(service, exchange, *news.job) : progress_line(*news.job));
  }
  return !news.is_over;
}

void draw_for_ollama(Service& service, Exchange& exchange, httplib::Response& response) {
  const JsonReader body = fields_of(exchange);
  JobRequest request = picture_request(ollama_fields(body), service.workers(),
                                       service.options().limits, Naming::full, 1);
  if (prompt_of(request).empty()) refuse_field("prompt", "is required");
  const bool streams = body.boolean("stream", true);
  const Job job = service.submit(exchange, std::move(request));
  if (streams) {
    const auto streamed = std::make_shared<StreamedJob>(service, job.id);
    send_events(
        exchange, response,
        [&service, &exchange, streamed](EventSink& sink) {
          return send_line(*streamed, service, exchange, sink);
        },
        StreamKind::lines);
  } else {
    send_json(response, result_line(service, exchange, service.wait_until_final(exchange, job)));
  }
}

void list_for_ollama(Service& service, Exchange&, httplib::Response& response) {
  const std::vector<WorkerInfo> workers = service.workers();
  json models = json::array();
  for (const std::string& name : model_names(workers))
    models.push_back(model_of(name, worker_for(name, workers)));
  send_json(response, {{"models", models}});
}

void show_for_ollama(Service& service, Exchange& exchange, httplib::Response& response) {
  const JsonReader body = fields_of(exchange);
  const std::string earlier = body.text("name", "");  // looked at even where nobody asks for it
  const std::string name = body.has("name") ? body.text("model", earlier) : body.text("model");
  const std::vector<WorkerInfo> workers = service.workers();
  const WorkerInfo& worker = worker_for(without_tag(name), workers);
  send_json(response,
            {{"modelfile", ""},
             {"parameters", ""},
             {"template", ""},
             {"license", ""},
             {"modified_at", time_text(0)},
             {"details", details_of(worker)},
             {"model_info",
              {{"general.architecture", "ernie-image"}, {"general.basename", worker.model}}},
             {"capabilities", {"image"}}});
}

void show_version(Service&, Exchange&, httplib::Response& response) {
  send_json(response, {{"version", version()}});
}

}  // namespace

void add_ollama_routes(Router& router, Service& service) {
  const auto add = [&](const char* method, const char* pattern, auto handler) {
    router.add({.method = method,
                .pattern = pattern,
                .handler = std::bind_front(handler, std::ref(service)),
                .has_plain_errors = true});
  };
  add("POST", "/api/generate", draw_for_ollama);
  add("GET", "/api/tags", list_for_ollama);
  add("GET", "/api/ps", list_for_ollama);
  add("POST", "/api/show", show_for_ollama);
  add("GET", "/api/version", show_version);
}

}  // namespace ernie_image
