// Jobs as clients see them.
#pragma once

#include <nlohmann/json.hpp>

#include "jobs/job_queue.h"

namespace ernie_image {

nlohmann::json job_view(const Job& job);

/// "/v1/jobs/ID/images/INDEX"
std::string image_path(const std::string& id, int index);

/// A model and what it can make: of the released size the seven official sizes, else its own.
nlohmann::json model_view(const WorkerInfo& worker);

}  // namespace ernie_image
