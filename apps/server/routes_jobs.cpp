// The jobs API: hand in, watch, fetch, cancel, forget.
#include <algorithm>
#include <charconv>

#include "ernie_image/pipeline.h"
#include "server/api_error.h"
#include "server/base64.h"
#include "server/event_stream.h"
#include "server/job_follower.h"
#include "server/job_view.h"
#include "server/routes.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr int kMaxListed = 200;

/// Nothing without a picture, for which the other fields are then.
std::optional<GivenPicture> given_picture(const JsonReader& fields, const Upload& upload) {
  if (upload.image.empty()) {
    for (const std::string_view name : kPictureFields) {
      const bool is_of_boxes = name == "strength" && fields.has("boxes");
      if (fields.has(std::string(name)) && !is_of_boxes)
        refuse_field(std::string(name), "needs an image");
    }
    return std::nullopt;
  }
  GivenPicture given = decoded_upload(upload);
  read_picture_fields(fields, given);
  return given;
}

JobRequest job_request(const UploadRequest& asked, Service& service) {
  const auto& [fields, upload] = asked;
  std::vector<std::string_view> known = {"kind", "priority", "previews", "trace"};
  known.insert(known.end(), kPictureFields.begin(), kPictureFields.end());
  refuse_unknown(fields, known);
  const bool is_enhance = fields.choice("kind", JobKind::image) == JobKind::enhance;
  const std::optional<int> count = is_enhance ? std::optional(1) : std::nullopt;
  const std::optional<GivenPicture> given = given_picture(fields, upload);
  if (given && is_enhance) refuse_field("image", "is nothing that the enhancer looks at");
  JobRequest request = picture_request(fields, service.workers(), service.options().limits,
                                       Naming::full, count, given ? &*given : nullptr);
  if (prompt_of(request).empty()) refuse_field("prompt", "is required");
  if (is_enhance) {
    request.kind = JobKind::enhance;
    if (!worker_for(request.model, service.workers()).has_enhancer) {
      refuse_field("kind", "asks for a prompt enhancer, which this model has not");
    }
  }
  request.priority = fields.choice("priority", request.priority);
  request.previews =
      static_cast<int>(fields.integer("previews", 0, 0, request.num_inference_steps));
  request.chrome_trace = fields.boolean("trace", false);
  return request;
}

void create_job(Service& service, Exchange& exchange, httplib::Response& response) {
  const Job job = service.submit(exchange, job_request(upload_request(exchange), service));
  response.set_header("Location", "/v1/jobs/" + job.id);
  send_json(response, job_view(job), 202);
}

int limit_of(const httplib::Request& request) {
  if (!request.has_param("limit")) return JobFilter{}.limit;
  const std::string text = request.get_param_value("limit");
  int limit = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
  if (error != std::errc() || end != text.data() + text.size() || limit < 1 || limit > kMaxListed) {
    refuse_field("limit", "must be a whole number from 1 to " + std::to_string(kMaxListed));
  }
  return limit;
}

JobState state_of(const std::string& name) {
  if (const auto state = from_name<JobState>(name)) return *state;
  refuse_field("status", "must be one of " + all_names<JobState>(", "));
}

void list_jobs(Service& service, Exchange& exchange, httplib::Response& response) {
  const httplib::Request& request = *exchange.request;
  JobFilter filter;
  filter.owner = exchange.owner();
  filter.limit = limit_of(request) + 1;  // one more tells whether there are more
  if (request.has_param("status")) filter.state = state_of(request.get_param_value("status"));
  if (request.has_param("before")) {
    filter.before = service.own_job(exchange, request.get_param_value("before")).id;
  }
  std::vector<Job> jobs = service.queue().list(filter);
  const bool has_more = static_cast<int>(jobs.size()) == filter.limit;
  if (has_more) jobs.pop_back();
  json data = json::array();
  for (const Job& job : jobs) data.push_back(job_view(job));
  send_json(response, {{"object", "list"}, {"data", data}, {"has_more", has_more}});
}

Job job_of_path(Service& service, const Exchange& exchange) {
  return service.own_job(exchange, exchange.path_parameters.at("id"));
}

void show_job(Service& service, Exchange& exchange, httplib::Response& response) {
  send_json(response, job_view(job_of_path(service, exchange)));
}

void cancel_job(Service& service, Exchange& exchange, httplib::Response& response) {
  const Job job = job_of_path(service, exchange);
  if (!service.queue().cancel(job.id)) {
    throw ApiError(409, "the job is over already", "", "job_is_final");
  }
  send_json(response, job_view(job_of_path(service, exchange)));
}

void delete_job(Service& service, Exchange& exchange, httplib::Response& response) {
  const std::string& id = exchange.path_parameters.at("id");
  try {
    service.own_job(exchange, id);
  } catch (const DamagedJob&) {
    // Which is all that can be done with it.
  }
  if (!service.queue().remove(id)) {
    throw ApiError(409, "the job is not over yet; cancel it first", "", "job_is_not_final");
  }
  response.status = 204;
}

json preview_view(const Job& job, const Bytes& bytes) {
  return {{"job_id", job.id},
          {"index", job.progress.preview_index},
          {"step", job.progress.step},
          {"content_type", "image/jpeg"},
          {"b64_json", base64(bytes)}};
}

void stream_job(Service& service, Exchange& exchange, httplib::Response& response) {
  const Job job = job_of_path(service, exchange);
  // A browser's EventSource asks again after the end, and stops at this.
  if (is_final(job.state) && exchange.head.header("last-event-id") == std::to_string(job.version)) {
    response.status = 204;
    return;
  }
  send_events(exchange, response,
              [follower = JobFollower(service.queue(), job.id)](EventSink& sink) mutable {
                const JobNews news = follower.next();
                if (news.job && news.preview)
                  sink.send("preview", preview_view(*news.job, *news.preview));
                if (news.job)
                  sink.send("job", job_view(*news.job), std::to_string(news.job->version));
                return !news.is_over;
              });
}

void show_image(Service& service, Exchange& exchange, httplib::Response& response) {
  const Job job = job_of_path(service, exchange);
  send_image(service, exchange, job.id, exchange.path_parameters.at("index"), response);
}

void delete_image(Service& service, Exchange& exchange, httplib::Response& response) {
  const Job job = job_of_path(service, exchange);
  if (!is_final(job.state)) {
    throw ApiError(409, "the job is not over yet; cancel it first", "", "job_is_not_final");
  }
  const int index = image_index(job, exchange.path_parameters.at("index"));
  if (!service.queue().remove_image(job.id, index)) throw not_found("image");
  response.status = 204;
}

void show_trace(Service& service, Exchange& exchange, httplib::Response& response) {
  const Job job = job_of_path(service, exchange);
  const std::optional<Bytes> trace = service.queue().trace(job.id);
  if (!trace || trace->empty()) {
    throw ApiError(409, "there is no trace; only a completed job that asked for it has one", "",
                   "job_has_no_trace");
  }
  response.status = 200;
  response.set_content(*trace, "application/json");
}

json worker_view(const WorkerInfo& worker) {
  return {{"name", worker.name},
          {"model", worker.model},
          {"device", worker.device},
          {"busy", !worker.current_job.empty()},
          {"seconds_per_step", worker.seconds_per_step},
          {"last_seen", static_cast<double>(worker.last_seen_ms) / 1000}};
}

/// Whose turn it is comes first.
std::vector<Job> in_order(std::vector<Job> jobs) {
  std::ranges::stable_sort(jobs, {}, [](const Job& job) { return job.queue_position.value_or(0); });
  return jobs;
}

/// Waiting and running jobs of everybody; of those that are not the asker's own only that they are
/// there.
void show_queue(Service& service, Exchange& exchange, httplib::Response& response) {
  const QueueCounts counts = service.queue().counts();
  json jobs = json::array();
  for (const JobState state : {JobState::running, JobState::queued}) {
    JobFilter filter;
    filter.state = state;
    filter.limit = kMaxListed;
    filter.oldest_first = true;
    for (const Job& job : in_order(service.queue().list(filter))) {
      const bool is_mine = job.owner == exchange.owner();
      jobs.push_back({{"id", is_mine ? json(job.id) : json()},
                      {"queue_position", job.queue_position ? json(*job.queue_position) : json()},
                      {"status", name_of(job.state)},
                      {"mine", is_mine}});
    }
  }
  json workers = json::array();
  for (const WorkerInfo& worker : service.workers()) workers.push_back(worker_view(worker));
  send_json(response, {{"queued", counts.queued},
                       {"running", counts.running},
                       {"jobs", jobs},
                       {"workers", workers}});
}

json models_view(const std::vector<WorkerInfo>& workers) {
  json models = json::array();
  for (const std::string& model : model_names(workers)) {
    models.push_back(model_view(worker_for(model, workers)));
  }
  return models;
}

/// What each option of a request may be here.
json options_view(const RequestLimits& limits) {
  json view = json::object();
  for (const RequestOption& option : request_options()) {
    view[option.name()] = {{"min", option.limit(option.min)}, {"max", option.limit(option.max)}};
  }
  view["num_inference_steps"]["max"] = limits.max_steps;
  return view;
}

void show_capabilities(Service& service, Exchange& exchange, httplib::Response& response) {
  const RequestLimits& limits = service.options().limits;
  // Of this machine's folders nothing is told to strangers.
  const bool is_known = !service.keys().are_required() || exchange.key != nullptr;
  const std::string saves_to = is_known ? service.options().saves_to : "";
  send_json(response, {{"models", models_view(service.workers())},
                       {"limits",
                        {{"max_images", limits.max_images},
                         {"max_steps", limits.max_steps},
                         {"max_pixels", limits.max_pixels},
                         {"max_prompt_chars", limits.max_prompt_chars}}},
                       {"options", options_view(limits)},
                       {"formats", {"png", "jpeg", "webp"}},
                       {"auth_required", service.keys().are_required()},
                       {"keeps_jobs", service.options().keeps_jobs},
                       {"saves_to", saves_to.empty() ? json() : json(saves_to)},
                       {"version", version()}});
}

}  // namespace

void add_job_routes(Router& router, Service& service) {
  RouteGroup routes(router, std::ref(service));
  routes.add("POST", "/v1/jobs", create_job, Access::with_key, kMaxUploadBytes, true);
  routes.add("GET", "/v1/jobs", list_jobs);
  routes.add("GET", "/v1/jobs/{id}", show_job);
  routes.add("DELETE", "/v1/jobs/{id}", delete_job);
  routes.add("GET", "/v1/jobs/{id}/events", stream_job);
  routes.add("POST", "/v1/jobs/{id}/cancel", cancel_job);
  routes.add("GET", "/v1/jobs/{id}/images/{index}", show_image);
  routes.add("DELETE", "/v1/jobs/{id}/images/{index}", delete_image);
  routes.add("GET", "/v1/jobs/{id}/trace", show_trace);
  routes.add("GET", "/v1/queue", show_queue);
  // The page asks here whether it needs a key.
  routes.add("GET", "/v1/capabilities", show_capabilities, Access::open);
}

}  // namespace ernie_image
