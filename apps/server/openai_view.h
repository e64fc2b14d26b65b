// Requests and responses of the OpenAI Images API.
#pragma once

#include <nlohmann/json.hpp>

#include "server/service.h"

namespace ernie_image {

/// What is made: pictures from text, or from a picture and text, or from a picture alone.
enum class OpenAiKind { generation, edit, variation };

struct OpenAiRequest {
  OpenAiKind kind = OpenAiKind::generation;
  JobRequest job;
  bool wants_url = false;
  bool wants_stream = false;
  std::string quality = "auto";
};

/// `upload`: of edits and variations. Throws JsonError or ApiError.
OpenAiRequest parse_openai_request(const JsonReader& fields, Service& service,
                                   OpenAiKind kind = OpenAiKind::generation,
                                   const Upload& upload = {});

/// "image_generation" or "image_edit", with `event` after a dot.
std::string openai_event(const OpenAiRequest& request, const std::string& event);

/// The response's body for a completed job.
nlohmann::json openai_response(Service& service, const Exchange& exchange,
                               const OpenAiRequest& request, const Job& job);

/// Event `partial_image`.
nlohmann::json openai_partial_image(const OpenAiRequest& request, const Job& job,
                                    const Bytes& preview, int index);

/// Event `completed` of one of the job's pictures.
nlohmann::json openai_completed_image(Service& service, const OpenAiRequest& request,
                                      const Job& job, int index);

/// Throws ApiError for a job that is final without being completed.
void require_completed(const Job& job);

}  // namespace ernie_image
