#include "server/openai_view.h"

#include "server/api_error.h"
#include "server/base64.h"
#include "server/job_view.h"
#include "server/signed_link.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr int kMaxPartialImages = 3;
constexpr std::int64_t kLinkSeconds = 3600;
constexpr int kLatentPx = 16;  // one of the model's picture tokens covers 16 x 16 pixels

std::string size_of(const JobRequest& request) {
  return std::to_string(request.width_px) + "x" + std::to_string(request.height_px);
}

json usage_of(const Job& job, std::size_t images) {
  const JobRequest& request = job.request;
  const int picture = (request.width_px / kLatentPx) * (request.height_px / kLatentPx);
  const int output = picture * static_cast<int>(images);
  const int given = request.picture_use.sha256.empty() ? 0 : picture;
  const int input = job.prompt_tokens + given;
  return {{"input_tokens", input},
          {"output_tokens", output},
          {"total_tokens", input + output},
          {"input_tokens_details", {{"text_tokens", job.prompt_tokens}, {"image_tokens", given}}}};
}

/// What every answer says of how its pictures were made.
json settings_of(const OpenAiRequest& request) {
  return {{"background", "opaque"},
          {"output_format", request.job.image_format},
          {"quality", request.quality},
          {"size", size_of(request.job)}};
}

std::string link_to(Service& service, const Exchange& exchange, const Job& job, int index) {
  const std::string base = service.base_url(exchange);
  if (!service.keys().are_required()) return base + image_path(job.id, index);
  const std::int64_t expires = job.finished_ms / 1000 + kLinkSeconds;
  return base + signed_path(service.keys().shared_secret(), job.id, index, expires);
}

void refuse_unknown_fields(const JsonReader& fields, OpenAiKind kind) {
  std::vector<std::string_view> known = {
      "quality", "response_format", "background", "moderation", "style", "stream", "partial_images",
      "user",
      // Of the newest clients; what they say of moving or vector pictures has no meaning here.
      "complexity", "frame_count", "frame_duration_ms", "safety_identifier", "svg"};
  if (kind != OpenAiKind::generation) {
    known.insert(known.end(), kPictureFields.begin(), kPictureFields.end());
    known.emplace_back("input_fidelity");
    fields.choice("input_fidelity", "low", {"low", "high"});
  }
  refuse_unknown(fields, known);
}

JobRequest job_of_edit(const JsonReader& fields, Service& service, const Upload& upload) {
  GivenPicture given = decoded_upload(upload);
  const bool draws_a_part = given.mask || fields.has("outpaint");
  if (draws_a_part) given.strength = 1;  // what is masked is to be another thing
  read_picture_fields(fields, given);
  return picture_request(fields, service.workers(), service.options().limits, Naming::full,
                         std::nullopt, &given);
}

}  // namespace

std::string openai_event(const OpenAiRequest& request, const std::string& event) {
  const bool is_edit = request.kind != OpenAiKind::generation;
  return (is_edit ? "image_edit." : "image_generation.") + event;
}

OpenAiRequest parse_openai_request(const JsonReader& fields, Service& service, OpenAiKind kind,
                                   const Upload& upload) {
  refuse_unknown_fields(fields, kind);
  OpenAiRequest request;
  request.kind = kind;
  request.job = kind == OpenAiKind::generation
                    ? picture_request(fields, service.workers(), service.options().limits)
                    : job_of_edit(fields, service, upload);
  if (prompt_of(request.job).empty() && kind != OpenAiKind::variation)
    refuse_field("prompt", "is required");
  request.quality = fields.choice(
      "quality", "auto", {"auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"});
  request.wants_url = fields.choice("response_format", "b64_json", {"url", "b64_json"}) == "url";
  request.wants_stream = fields.boolean("stream", false);
  if (fields.choice("background", "auto", {"auto", "transparent", "opaque"}) == "transparent") {
    refuse_field("background", "cannot be transparent with this model");
  }
  fields.choice("moderation", "auto", {"auto", "low"});
  fields.integer("frame_count", 1, 1, 1);
  fields.text("style", "");
  fields.text("user", "");
  const std::int64_t partial_images = fields.integer("partial_images", 0, 0, kMaxPartialImages);
  if (partial_images > 0 && !request.wants_stream) {
    refuse_field("partial_images", "needs stream: true");
  }
  request.job.previews =
      std::min(static_cast<int>(partial_images), request.job.num_inference_steps);
  return request;
}

void require_completed(const Job& job) {
  if (job.state == JobState::completed) return;
  if (job.state == JobState::cancelled) {
    ApiError error(409, "the job was cancelled", "", "cancelled");
    error.is_final = true;
    throw error;
  }
  throw error_of_failure(job.failure.value_or(JobFailure{"", "the job failed"}));
}

json openai_response(Service& service, const Exchange& exchange, const OpenAiRequest& request,
                     const Job& job) {
  require_completed(job);
  json data = json::array();
  for (std::size_t i = 0; i < job.images.size(); ++i) {
    const int index = static_cast<int>(i);
    if (job.images[i].is_removed) continue;
    json image = {{"seed", job.images[i].seed}};
    if (request.wants_url) {
      image["url"] = link_to(service, exchange, job, index);
    } else {
      image["b64_json"] = base64(image_bytes(service, job, index));
    }
    if (!job.enhanced_prompt.empty()) image["revised_prompt"] = job.enhanced_prompt;
    data.push_back(std::move(image));
  }
  json response = settings_of(request);
  response["id"] = job.id;
  response["created"] = job.created_ms / 1000;
  response["data"] = std::move(data);
  response["usage"] = usage_of(job, job.images.size());
  return response;
}

json openai_partial_image(const OpenAiRequest& request, const Job& job, const Bytes& preview,
                          int index) {
  json event = settings_of(request);
  event["type"] = openai_event(request, "partial_image");
  event["output_format"] = "jpeg";  // whatever the finished picture is
  event["created_at"] = job.created_ms / 1000;
  event["partial_image_index"] = index;
  event["b64_json"] = base64(preview);
  return event;
}

json openai_completed_image(Service& service, const OpenAiRequest& request, const Job& job,
                            int index) {
  json event = settings_of(request);
  event["type"] = openai_event(request, "completed");
  event["created_at"] = job.created_ms / 1000;
  event["b64_json"] = base64(image_bytes(service, job, index));
  event["seed"] = job.images[static_cast<std::size_t>(index)].seed;
  if (!job.enhanced_prompt.empty()) event["revised_prompt"] = job.enhanced_prompt;
  event["usage"] = usage_of(job, 1);
  return event;
}

}  // namespace ernie_image
