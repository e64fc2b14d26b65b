// Requests and responses of the OpenAI Images API.
#pragma once

#include <nlohmann/json.hpp>

#include "server/service.h"

namespace ernie_image {

struct OpenAiRequest {
  JobRequest job;
  bool wants_url = false;
  bool wants_stream = false;
  std::string quality = "auto";
};

/// Throws JsonError or ApiError.
OpenAiRequest parse_openai_request(const JsonReader& fields, Service& service);

/// The response's body for a completed job.
nlohmann::json openai_response(Service& service, const Exchange& exchange,
                               const OpenAiRequest& request, const Job& job);

/// Event `image_generation.partial_image`.
nlohmann::json openai_partial_image(const OpenAiRequest& request, const Job& job,
                                    const Bytes& preview, int index);

/// Event `image_generation.completed` of one of the job's pictures.
nlohmann::json openai_completed_image(Service& service, const OpenAiRequest& request,
                                      const Job& job, int index);

/// Throws ApiError for a job that is final without being completed.
void require_completed(const Job& job);

}  // namespace ernie_image
