// The A1111 web UI's API, as far as its clients use it for making pictures.
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include "common/lora.h"
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

class A1111Api {
 public:
  explicit A1111Api(Service& service) : service_(service) {}

  void text_to_image(Exchange& exchange, httplib::Response& response) {
    make(exchange, response, false);
  }
  void image_to_image(Exchange& exchange, httplib::Response& response) {
    make(exchange, response, true);
  }
  void show_progress(Exchange& exchange, httplib::Response& response);
  void interrupt(Exchange& exchange, httplib::Response& response);
  void show_options(Exchange& exchange, httplib::Response& response);
  void set_options(Exchange& exchange, httplib::Response& response);
  void list_models(Exchange& exchange, httplib::Response& response);
  void list_adapters(Exchange& exchange, httplib::Response& response);

 private:
  class ShownJob;

  void make(Exchange& exchange, httplib::Response& response, bool begins_with_picture);
  /// Oldest first.
  std::vector<std::string> shown_jobs(const std::string& owner);
  std::string chosen_model(const std::string& owner);

  Service& service_;
  // What that API keeps in the server rather than in requests, for each key.
  std::mutex mutex_;
  std::map<std::string, std::vector<std::string>> jobs_;
  std::map<std::string, std::string> models_;
};

/// A job that /progress shows and /interrupt stops.
class A1111Api::ShownJob {
 public:
  ShownJob(A1111Api& api, std::string owner, std::string job)
      : api_(api), owner_(std::move(owner)), job_(std::move(job)) {
    const std::lock_guard lock(api_.mutex_);
    api_.jobs_[owner_].push_back(job_);
  }
  ShownJob(const ShownJob&) = delete;
  ShownJob& operator=(const ShownJob&) = delete;
  ~ShownJob() {
    const std::lock_guard lock(api_.mutex_);
    std::erase(api_.jobs_[owner_], job_);
  }

 private:
  A1111Api& api_;
  std::string owner_;
  std::string job_;
};

std::vector<std::string> A1111Api::shown_jobs(const std::string& owner) {
  const std::lock_guard lock(mutex_);
  return jobs_[owner];
}

std::string A1111Api::chosen_model(const std::string& owner) {
  const std::lock_guard lock(mutex_);
  return models_[owner];
}

/// Those of a job that was interrupted are none: no picture is half done.
json images_of(Service& service, const Job& job) {
  json images = json::array();
  for (std::size_t i = 0; i < job.images.size(); ++i) {
    const std::optional<Bytes> bytes = service.queue().image(job.id, static_cast<int>(i));
    if (bytes) images.push_back(base64(*bytes));
  }
  return images;
}

void A1111Api::make(Exchange& exchange, httplib::Response& response, bool begins_with_picture) {
  std::optional<JsonReader> fields = a1111_fields(fields_of(exchange));
  const std::string owner = exchange.owner();
  JobRequest request =
      a1111_request(*fields, chosen_model(owner), service_.workers(), service_.options().limits,
                    begins_with_picture ? exchange.memory : nullptr);
  const bool sends_images = fields->boolean("send_images", true);
  const json parameters = repeated_fields(*fields);
  const bool repeats_images = begins_with_picture && parameters.contains("init_images");
  const Job job = service_.submit(exchange, std::move(request));
  fields.reset();
  if (!repeats_images) forget_body(exchange);
  const ShownJob shown(*this, owner, job.id);
  const Job finished = service_.wait_until_final(exchange, job);
  if (finished.state != JobState::cancelled) require_completed(finished);
  if (sends_images) take_memory_for_images(exchange, finished);
  send_json(response, {{"images", sends_images ? images_of(service_, finished) : json::array()},
                       {"parameters", parameters},
                       {"info", a1111_info(finished, parameters)}});
}

/// False without it; words as in the bodies.
bool boolean_parameter(const httplib::Request& request, const std::string& name) {
  const json word = boolean_of_word(request.get_param_value(name));
  if (!request.has_param(name)) return false;
  if (!word.is_boolean()) refuse_field(name, "must be true or false");
  return word.get<bool>();
}

void A1111Api::show_progress(Exchange& exchange, httplib::Response& response) {
  const bool skips_image = boolean_parameter(*exchange.request, "skip_current_image");
  std::optional<Job> shown;
  for (const std::string& id : shown_jobs(exchange.owner())) {
    std::optional<Job> job = service_.queue().find_readable(id);
    if (!job || is_final(job->state)) continue;
    if (!shown || job->state == JobState::running) shown = std::move(job);
    if (shown->state == JobState::running) break;
  }
  Bytes preview;
  if (shown && !skips_image) preview = service_.queue().preview(shown->id).value_or("");
  send_json(response, a1111_progress(shown ? &*shown : nullptr, preview));
}

void A1111Api::interrupt(Exchange& exchange, httplib::Response& response) {
  for (const std::string& id : shown_jobs(exchange.owner())) {
    const std::optional<Job> job = service_.queue().find_readable(id);
    if (job && job->state == JobState::running) service_.queue().cancel(id);
  }
  send_json(response, json::object());
}

void A1111Api::show_options(Exchange& exchange, httplib::Response& response) {
  const std::vector<WorkerInfo> workers = service_.workers();
  send_json(response, {{kModelOption, worker_for(chosen_model(exchange.owner()), workers).model},
                       {"samples_format", "png"},
                       {"sd_vae", "None"},
                       {"live_previews_enable", true}});
}

/// Among all options only the model can be chosen; the others are that program's own.
void A1111Api::set_options(Exchange& exchange, httplib::Response& response) {
  const JsonReader fields = fields_of(exchange);
  if (fields.has(kModelOption)) {
    std::string name = worker_for(fields.text(kModelOption), service_.workers()).model;
    const std::lock_guard lock(mutex_);
    models_[exchange.owner()] = std::move(name);
  }
  send_json(response, nullptr);
}

void A1111Api::list_models(Exchange&, httplib::Response& response) {
  json models = json::array();
  for (const std::string& model : model_names(service_.workers())) {
    models.push_back({{"title", model},
                      {"model_name", model},
                      {"hash", nullptr},
                      {"sha256", nullptr},
                      {"filename", model},
                      {"config", nullptr}});
  }
  send_json(response, models);
}

/// Files are named, and where they lie is not told.
void A1111Api::list_adapters(Exchange&, httplib::Response& response) {
  const std::string& directory = service_.options().limits.lora_directory;
  json loras = json::array();
  if (!directory.empty()) {
    for (const std::string& name : list_loras(directory)) {
      const std::string path = find_lora(directory, name);
      loras.push_back({{"name", name},
                       {"alias", name},
                       {"path", path.substr(path.rfind('/') + 1)},
                       {"metadata", json::object()}});
    }
  }
  send_json(response, loras);
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

// What this model has none of, or one.
const std::map<std::string, json> kLists = {
    {"/sdapi/v1/samplers", kSamplers},
    {"/sdapi/v1/schedulers", kSchedulers},
    {"/sdapi/v1/upscalers", kUpscalers},
    {"/sdapi/v1/latent-upscale-modes", json::array({{{"name", "None"}}})},
    {"/sdapi/v1/sd-vae", json::array()},
    {"/sdapi/v1/prompt-styles", json::array()},
    {"/sdapi/v1/scripts", {{"txt2img", json::array()}, {"img2img", json::array()}}},
    {"/sdapi/v1/script-info", json::array()},
    {"/sdapi/v1/hypernetworks", json::array()},
    {"/sdapi/v1/face-restorers", json::array()},
    {"/sdapi/v1/realesrgan-models", json::array()},
    {"/sdapi/v1/embeddings", {{"loaded", json::object()}, {"skipped", json::object()}}},
    {"/sdapi/v1/cmd-flags", json::object()},
    {"/login_check", true}};
// Every list is read anew whenever it is asked for.
constexpr const char* kRefreshes[] = {"/sdapi/v1/refresh-checkpoints", "/sdapi/v1/refresh-vae",
                                      "/sdapi/v1/refresh-loras"};

void show_png_info(Exchange& exchange, httplib::Response& response) {
  const JsonReader fields = fields_of(exchange);
  const json* const image = fields.find("image");
  const Bytes bytes = picture_bytes(image == nullptr ? json() : *image, "image");
  const FileView file = {"image", std::as_bytes(std::span(bytes)), nullptr, -1};
  try {
    send_json(response, a1111_png_info(read_image_metadata(file, kMaxPngText)));
  } catch (const Error& error) {
    throw ApiError(400, error.what(), "image", "invalid_value");
  }
}

}  // namespace

void add_a1111_routes(Router& router, Service& service) {
  RouteGroup routes(router, std::make_shared<A1111Api>(service));
  routes.add("POST", "/sdapi/v1/txt2img", &A1111Api::text_to_image);
  routes.add("POST", "/sdapi/v1/img2img", &A1111Api::image_to_image, Access::with_key,
             kMaxUploadBytes);
  routes.add("GET", "/sdapi/v1/progress", &A1111Api::show_progress);
  routes.add("POST", "/sdapi/v1/interrupt", &A1111Api::interrupt);
  routes.add("POST", "/sdapi/v1/skip", &A1111Api::interrupt);
  routes.add("GET", "/sdapi/v1/options", &A1111Api::show_options);
  routes.add("POST", "/sdapi/v1/options", &A1111Api::set_options);
  routes.add("GET", "/sdapi/v1/sd-models", &A1111Api::list_models);
  routes.add("GET", "/sdapi/v1/loras", &A1111Api::list_adapters);
  for (const auto& [pattern, list] : kLists) {
    router.add({"GET", pattern,
                [&list](Exchange&, httplib::Response& response) { send_json(response, list); }});
  }
  for (const char* pattern : kRefreshes) {
    router.add({"POST", pattern,
                [](Exchange&, httplib::Response& response) { send_json(response, nullptr); }});
  }
  router.add({"POST", "/sdapi/v1/png-info", show_png_info, Access::with_key, kMaxPngBody});
}

}  // namespace ernie_image
