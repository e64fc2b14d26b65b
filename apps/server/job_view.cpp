#include "server/job_view.h"

#include "request/request.h"

namespace ernie_image {
namespace {

using nlohmann::json;

/// What the released model was trained for; see docs/server.md.
constexpr int kOfficialSizes[][2] = {{1024, 1024}, {848, 1264}, {1264, 848}, {768, 1376},
                                     {896, 1200},  {1376, 768}, {1200, 896}};
constexpr int kOfficialSide = 1024;  // default of the models that these sizes are for

/// Seconds since 1970; null for a moment that has not come.
json seconds(std::int64_t milliseconds) {
  return milliseconds == 0 ? json() : json(static_cast<double>(milliseconds) / 1000);
}

template <typename T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json();
}

json progress_view(const Job& job) {
  if (job.state != JobState::running) return nullptr;
  const JobProgress& progress = job.progress;
  return {{"stage", progress.stage},
          {"step", progress.step},
          {"steps", progress.steps},
          {"image", progress.image < 0 ? json() : json(progress.image)},
          {"images", progress.images},
          {"fraction", progress.fraction},
          {"seconds_left", or_null(progress.seconds_left)}};
}

json request_view(const JobRequest& request) {
  json view = options_json(request);
  view.update({{"model", request.model},
               {"prompt", prompt_of(request)},
               {"negative_prompt", negative_prompt_of(request)},
               {"seeds", request.seeds},
               {"use_pe", request.enhance},
               {"loras", adapters_json(request.adapters)},
               {"output_format", request.image_format},
               {"output_compression", request.image_quality},
               {"priority", name_of(request.priority)}});
  write_runs(request, view);
  if (!request.picture_use.sha256.empty())
    view["image"] = picture_use_json(request.picture_use, request.picture);
  return view;
}

json images_view(const Job& job) {
  json images = json::array();
  for (std::size_t i = 0; i < job.images.size(); ++i) {
    const JobImage& image = job.images[i];
    if (image.is_removed) continue;
    images.push_back({{"url", image_path(job.id, static_cast<int>(i))},
                      {"seed", image.seed},
                      {"width", image.width_px},
                      {"height", image.height_px},
                      {"content_type", image.content_type},
                      {"size_bytes", image.size_bytes}});
  }
  return images;
}

json failure_view(const Job& job) {
  if (!job.failure) return nullptr;
  return {{"message", job.failure->message}, {"type", job.failure->kind}};
}

json sizes_of(const WorkerInfo& worker) {
  json sizes = json::array({{worker.defaults.width_px, worker.defaults.height_px}});
  if (worker.defaults.width_px != kOfficialSide || worker.defaults.height_px != kOfficialSide) {
    return sizes;
  }
  sizes.clear();
  for (const auto& [width, height] : kOfficialSizes) sizes.push_back({width, height});
  return sizes;
}

}  // namespace

std::string image_path(const std::string& id, int index) {
  return "/v1/jobs/" + id + "/images/" + std::to_string(index);
}

json job_view(const Job& job) {
  return {{"id", job.id},
          {"object", "job"},
          {"kind", name_of(job.request.kind)},
          {"status", name_of(job.state)},
          {"created", seconds(job.created_ms)},
          {"started", seconds(job.started_ms)},
          {"finished", seconds(job.finished_ms)},
          {"queue_position", or_null(job.queue_position)},
          {"progress", progress_view(job)},
          {"request", request_view(job.request)},
          {"enhanced_prompt", job.enhanced_prompt.empty() ? json() : json(job.enhanced_prompt)},
          {"images", images_view(job)},
          {"error", failure_view(job)},
          {"attempts", job.attempts}};
}

json model_view(const WorkerInfo& worker) {
  json view = {{"id", worker.model},
               {"size_multiple", worker.size_multiple_px},
               {"has_enhancer", worker.has_enhancer},
               {"sizes", sizes_of(worker)}};
  for (const RequestOption& option : request_options()) {
    view[std::string("default_") + option.name(Naming::brief)] = option.get(worker.defaults);
  }
  return view;
}

}  // namespace ernie_image
