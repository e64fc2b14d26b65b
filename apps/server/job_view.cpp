#include "server/job_view.h"

namespace ernie_image {
namespace {

using nlohmann::json;

/// What the released model was trained for; see docs/server.md.
constexpr int kOfficialSizes[][2] = {{1024, 1024}, {848, 1264}, {1264, 848}, {768, 1376},
                                     {896, 1200},  {1376, 768}, {1200, 896}};
constexpr int kOfficialSide = 1024;  // default of the models that these sizes are for

const char* name_of(JobPriority priority) {
  if (priority == JobPriority::low) return "low";
  return priority == JobPriority::high ? "high" : "normal";
}

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
          {"fraction", progress.fraction},
          {"seconds_left", or_null(progress.seconds_left)}};
}

json request_view(const JobRequest& request) {
  json loras = json::array();
  for (const JobLora& lora : request.loras)
    loras.push_back({{"name", lora.name}, {"strength", lora.strength}});
  return {{"model", request.model},
          {"prompt", request.prompt},
          {"negative_prompt", request.negative_prompt},
          {"width", request.width_px},
          {"height", request.height_px},
          {"num_inference_steps", request.num_inference_steps},
          {"guidance_scale", request.guidance_scale},
          {"seeds", request.seeds},
          {"use_pe", request.enhance},
          {"loras", loras},
          {"output_format", request.image_format},
          {"output_compression", request.image_quality},
          {"priority", name_of(request.priority)}};
}

json images_view(const Job& job) {
  json images = json::array();
  for (const JobImage& image : job.images) {
    images.push_back({{"url", image_path(job.id, static_cast<int>(images.size()))},
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
  json sizes = json::array({{worker.default_width_px, worker.default_height_px}});
  if (worker.default_width_px != kOfficialSide || worker.default_height_px != kOfficialSide) {
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
          {"kind", job.request.kind == JobKind::image ? "image" : "enhance"},
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
  return {{"id", worker.model},
          {"default_width", worker.default_width_px},
          {"default_height", worker.default_height_px},
          {"default_steps", worker.default_num_inference_steps},
          {"default_guidance", worker.default_guidance_scale},
          {"size_multiple", worker.size_multiple_px},
          {"has_enhancer", worker.has_enhancer},
          {"sizes", sizes_of(worker)}};
}

}  // namespace ernie_image
