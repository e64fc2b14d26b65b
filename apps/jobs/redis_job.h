// A job as the Redis queue keeps it: the fields of a hash.
#pragma once

#include <string>

#include "jobs/job.h"
#include "jobs/redis_connection.h"

namespace ernie_image {

/// Whether it was damaged, and whose it was then as far as that could be read.
bool is_set_aside(const RedisReply& fields);
/// As it is kept: shortened.
std::string outcome_of_fields(const RedisReply& fields);
std::string owner_set_aside(const RedisReply& fields);

/// The job in what kFind gives back, which is not trusted. Throws Error(corrupt_file).
Job job_of(const std::string& id, const RedisReply& fields);

}  // namespace ernie_image
