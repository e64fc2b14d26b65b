// Names of jobs: 128 random bits, so that nobody can guess another's.
#pragma once

#include <string>
#include <string_view>

namespace ernie_image {

/// 32 digits of lower-case hex, from the system's generator. Throws Error(io) without one.
std::string new_job_id();

/// Whether `text` has the form of a job's id. Only such text becomes part of a file name or a key.
bool is_job_id(std::string_view text);

}  // namespace ernie_image
