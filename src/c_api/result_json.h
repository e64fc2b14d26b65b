// What a run took, as the C API tells it.
#pragma once

#include <string>

#include "ernie_image/pipeline.h"

namespace ernie_image::c_api {

/// "seconds", "memory", "prompt_tokens" and "adapters", as `ernie-image generate --json` has them.
std::string result_json(const Result& result, const Request& request);

}  // namespace ernie_image::c_api
