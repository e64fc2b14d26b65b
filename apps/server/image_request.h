// What the picture APIs have in common: fields of a request to a job with every default filled in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "jobs/job_queue.h"
#include "request/request.h"
#include "server/picture_upload.h"

namespace ernie_image {

struct RequestLimits {
  int max_images = 10;
  int max_steps = 200;
  std::int64_t max_pixels = 2048 * 2048;  ///< of one picture
  std::size_t max_prompt_chars = 8000;
  std::string lora_directory;  ///< of the names that requests may use; empty: none
  /// Names that mean whatever model is served: clients of other services have these built in.
  std::vector<std::string> model_aliases = {"dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-2"};
};

/// Reads `model`, `prompt`, `negative_prompt`, `n`, `seed`, the options of a request (by the names
/// of `naming`), `size`, `use_pe`, `loras`, `output_format` and `output_compression`; tags
/// <lora:name:0.8> are taken out of the prompt. `count` overrides `n`. With a picture an open size
/// is its own, as near as the model has it, and the enhancer, which knows nothing of it, is off
/// unless it is asked for. Throws JsonError, or ApiError: 400, 404 for an unknown model, 503 if no
/// worker lives.
JobRequest picture_request(const JsonReader& fields, const std::vector<WorkerInfo>& workers,
                           const RequestLimits& limits, Naming naming = Naming::full,
                           std::optional<int> count = std::nullopt,
                           const GivenPicture* picture = nullptr);

/// Throws ApiError(400) naming the first field that is neither one of those above nor of `others`.
void refuse_unknown(const JsonReader& fields, const std::vector<std::string_view>& others);

/// The worker for the model of that name; any for an empty one, and for an alias unless a model is
/// called so. The name may be as on the hub ("baidu/ERNIE-Image-Turbo"), and in lower case. Throws
/// ApiError as above.
const WorkerInfo& worker_for(const std::string& model, const std::vector<WorkerInfo>& workers,
                             const std::vector<std::string>& aliases = {});

/// Each model once.
std::vector<std::string> model_names(const std::vector<WorkerInfo>& workers);

/// Pixels of all pictures of the job and of the one it begins with, for quotas. Before these are
/// taken out of it.
double pixels_of(const JobRequest& request);

}  // namespace ernie_image
