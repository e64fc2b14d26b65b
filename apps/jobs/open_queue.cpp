#include "jobs/queue_options.h"
#include "jobs/redis_queue.h"
#include "jobs/sqlite_queue.h"

namespace ernie_image {

std::unique_ptr<JobQueue> open_queue(const QueueOptions& options) {
  if (options.url.empty()) return std::make_unique<SqliteQueue>(options);
  return std::make_unique<RedisQueue>(options);
}

}  // namespace ernie_image
