// Requests and responses of the A1111 web UI's API.
#pragma once

#include <nlohmann/json.hpp>

#include "server/image_request.h"

namespace ernie_image {

/// The request for `batch_size` times `n_iter` pictures; `model` is used unless the request's
/// override_settings name one. `upload_memory`: of img2img, for its pictures; null for txt2img.
/// Throws JsonError or ApiError.
JobRequest a1111_request(const JsonReader& fields, const std::string& model,
                         const std::vector<WorkerInfo>& workers, const RequestLimits& limits,
                         std::shared_ptr<MemoryBudget::Share> upload_memory = nullptr);

/// The fields as an answer repeats them: without pictures, unless `include_init_images` asks for
/// them.
nlohmann::json a1111_parameters(const JsonReader& fields);

/// The "parameters" text of one picture, as programs of that family read it.
std::string a1111_infotext(const JobRequest& request, std::size_t index);

/// The "info" of a response: JSON, as text.
std::string a1111_info(const Job& job);

/// What /progress says of a job; null for none. `preview` is a JPEG, or empty.
nlohmann::json a1111_progress(const Job* job, const Bytes& preview);

}  // namespace ernie_image
