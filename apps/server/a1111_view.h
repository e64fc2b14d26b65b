// Requests and responses of the A1111 web UI's API.
#pragma once

#include <nlohmann/json.hpp>

#include "io/image_file.h"
#include "server/image_request.h"

namespace ernie_image {

/// The request for `batch_size` times `n_iter` pictures; `model` is used unless the request's
/// override_settings name one. `upload_memory`: of img2img, for its pictures; null for txt2img.
/// Throws JsonError or ApiError.
JobRequest a1111_request(const JsonReader& fields, const std::string& model,
                         const std::vector<WorkerInfo>& workers, const RequestLimits& limits,
                         std::shared_ptr<MemoryBudget::Share> upload_memory = nullptr);

/// The fields with words for numbers and booleans ("20", "true") read as the web UI reads them.
JsonReader a1111_fields(const JsonReader& fields);

/// The fields as an answer repeats them: without pictures, unless `include_init_images` asks for
/// them.
nlohmann::json repeated_fields(const JsonReader& fields);

/// true for "yes", 1 and the like, false for "no"; anything else as it is.
nlohmann::json boolean_of_word(const nlohmann::json& value);

/// The "info" of a response to the fields `asked`: JSON, as text. Its infotexts are those of the
/// files.
std::string a1111_info(const Job& job, const nlohmann::json& asked);

/// What /png-info says of a file's texts.
nlohmann::json a1111_png_info(ImageMetadata metadata);

/// What /progress says of a job; null for none. `preview` is a JPEG, or empty.
nlohmann::json a1111_progress(const Job* job, const Bytes& preview);

}  // namespace ernie_image
