// The A1111 web UI's API, as far as its clients use it for making pictures.
#include <map>
#include <mutex>

#include <span>

#include "io/image_file.h"
#include "server/a1111_view.h"
#include "server/api_error.h"
#include "server/base64.h"
#include "server/openai_view.h"
#include "server/routes.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxPngBody = 24 << 20;  // base64 of a large picture
constexpr std::size_t kMaxPngText = 1 << 20;   // of its text chunks
constexpr const char* kModelOption = "sd_model_checkpoint";

/// What that API keeps in the server rather than in requests, for each key.
class A1111State {
 public:
  void begin(const std::string& owner, const std::string& job) {
    const std::lock_guard lock(mutex_);
    jobs_[owner].push_back(job);
  }
  void end(const std::string& owner, const std::string& job) {
    const std::lock_guard lock(mutex_);
    std::erase(jobs_[owner], job);
  }
  /// Oldest first.
  std::vector<std::string> jobs(const std::string& owner) {
    const std::lock_guard lock(mutex_);
    return jobs_[owner];
  }

  std::string model(const std::string& owner) {
    const std::lock_guard lock(mutex_);
    return models_[owner];
  }
  void set_model(const std::string& owner, const std::string& model) {
    const std::lock_guard lock(mutex_);
    models_[owner] = model;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::vector<std::string>> jobs_;
  std::map<std::string, std::string> models_;
};

/// A job that /progress shows and /interrupt stops.
class ShownJob {
 public:
  ShownJob(A1111State& state, std::string owner, std::string job)
      : state_(state), owner_(std::move(owner)), job_(std::move(job)) {
    state_.begin(owner_, job_);
  }
  ShownJob(const ShownJob&) = delete;
  ShownJob& operator=(const ShownJob&) = delete;
  ~ShownJob() { state_.end(owner_, job_); }

 private:
  A1111State& state_;
  std::string owner_;
  std::string job_;
};

/// Those of a job that was interrupted are none: no picture is half done.
json images_of(Service& service, const Job& job) {
  json images = json::array();
  for (std::size_t i = 0; i < job.images.size(); ++i) {
    const std::optional<Bytes> bytes = service.queue().image(job.id, static_cast<int>(i));
    if (bytes) images.push_back(base64(*bytes));
  }
  return images;
}

void text_to_image(Service& service, A1111State& state, Exchange& exchange,
                   httplib::Response& response) {
  const RequestFields fields = RequestFields::parse(exchange.request->body);
  const std::string owner = exchange.owner();
  const JobRequest request =
      a1111_request(fields, state.model(owner), service.workers(), service.options().limits);
  const bool sends_images = fields.boolean("send_images").value_or(true);
  const Job job = service.submit(exchange, request);
  const ShownJob shown(state, owner, job.id);
  const Job finished = service.wait_until_final(exchange, job);
  if (finished.state != JobState::cancelled) require_completed(finished);
  send_json(response, {{"images", sends_images ? images_of(service, finished) : json::array()},
                       {"parameters", fields.object()},
                       {"info", a1111_info(finished)}});
}

void show_progress(Service& service, A1111State& state, Exchange& exchange,
                   httplib::Response& response) {
  const bool skips_image = exchange.request->get_param_value("skip_current_image") == "true";
  std::optional<Job> shown;
  for (const std::string& id : state.jobs(exchange.owner())) {
    std::optional<Job> job = service.queue().find(id);
    if (!job || is_final(job->state)) continue;
    if (!shown || job->state == JobState::running) shown = std::move(job);
    if (shown->state == JobState::running) break;
  }
  Bytes preview;
  if (shown && !skips_image) preview = service.queue().preview(shown->id).value_or("");
  send_json(response, a1111_progress(shown ? &*shown : nullptr, preview));
}

void interrupt(Service& service, A1111State& state, Exchange& exchange,
               httplib::Response& response) {
  for (const std::string& id : state.jobs(exchange.owner())) {
    const std::optional<Job> job = service.queue().find(id);
    if (job && job->state == JobState::running) service.queue().cancel(id);
  }
  send_json(response, json::object());
}

void show_options(Service& service, A1111State& state, Exchange& exchange,
                  httplib::Response& response) {
  const std::vector<WorkerInfo> workers = service.workers();
  send_json(response, {{kModelOption, worker_for(state.model(exchange.owner()), workers).model},
                       {"samples_format", "png"},
                       {"sd_vae", "None"},
                       {"live_previews_enable", true}});
}

/// Of all options only the model can be chosen; the others are that program's own.
void set_options(Service& service, A1111State& state, Exchange& exchange,
                 httplib::Response& response) {
  const RequestFields fields = RequestFields::parse(exchange.request->body);
  if (const auto model = fields.text(kModelOption)) {
    state.set_model(exchange.owner(), worker_for(*model, service.workers()).model);
  }
  send_json(response, nullptr);
}

json models_view(Service& service) {
  json models = json::array();
  for (const std::string& model : model_names(service.workers())) {
    models.push_back({{"title", model},
                      {"model_name", model},
                      {"hash", nullptr},
                      {"sha256", nullptr},
                      {"filename", model},
                      {"config", nullptr}});
  }
  return models;
}

const json kSamplers = json::array(
    {{{"name", "Euler"}, {"aliases", {"euler", "k_euler"}}, {"options", json::object()}}});
const json kSchedulers = json::array({{{"name", "simple"},
                                       {"label", "Simple"},
                                       {"aliases", json::array()},
                                       {"default_rho", -1},
                                       {"need_inner_model", false}}});
const json kUpscalers = json::array({{{"name", "None"},
                                      {"model_name", nullptr},
                                      {"model_path", nullptr},
                                      {"model_url", nullptr},
                                      {"scale", 4}}});

/// Base64, with or without the "data:image/png;base64," of a data URI.
std::string png_bytes(const RequestFields& fields) {
  std::string text = fields.text("image").value_or("");
  if (text.starts_with("data:")) text = text.substr(text.find(',') + 1);
  std::optional<std::string> bytes = base64_decoded(text);
  if (!bytes) refuse_field("image", "must be a PNG file in base64");
  return *std::move(bytes);
}

void show_png_info(Exchange& exchange, httplib::Response& response) {
  const std::string png = png_bytes(RequestFields::parse(exchange.request->body));
  const FileView file = {"image", std::as_bytes(std::span(png.data(), png.size())), nullptr, -1};
  ImageMetadata metadata;
  try {
    metadata = read_png_metadata(file, kMaxPngText);
  } catch (const Error& error) {
    throw ApiError(400, error.what(), "image", "invalid_value");
  }
  const std::string info = metadata["parameters"];
  metadata.erase("parameters");
  send_json(response, {{"info", info}, {"items", metadata}, {"parameters", json::object()}});
}

}  // namespace

void add_a1111_routes(Router& router, Service& service) {
  const auto state = std::make_shared<A1111State>();
  using Function = void (*)(Service&, A1111State&, Exchange&, httplib::Response&);
  const auto add = [&](const char* method, const char* pattern, Function function) {
    router.add({method, pattern,
                [&service, state, function](Exchange& exchange, httplib::Response& response) {
                  function(service, *state, exchange, response);
                }});
  };
  add("POST", "/sdapi/v1/txt2img", text_to_image);
  add("GET", "/sdapi/v1/progress", show_progress);
  add("POST", "/sdapi/v1/interrupt", interrupt);
  add("POST", "/sdapi/v1/skip", interrupt);
  add("GET", "/sdapi/v1/options", show_options);
  add("POST", "/sdapi/v1/options", set_options);

  router.add({"GET", "/sdapi/v1/sd-models", [&service](Exchange&, httplib::Response& response) {
                send_json(response, models_view(service));
              }});
  const auto add_constant = [&](const char* pattern, const json& value) {
    router.add({"GET", pattern,
                [value](Exchange&, httplib::Response& response) { send_json(response, value); }});
  };
  add_constant("/sdapi/v1/samplers", kSamplers);
  add_constant("/sdapi/v1/schedulers", kSchedulers);
  add_constant("/sdapi/v1/upscalers", kUpscalers);
  add_constant("/sdapi/v1/loras", json::array());
  router.add(
      {"POST", "/sdapi/v1/png-info",
       [](Exchange& exchange, httplib::Response& response) { show_png_info(exchange, response); },
       Access::with_key, kMaxPngBody});
}

}  // namespace ernie_image
