#include "jobs/queue_options.h"
#include "jobs/sqlite_queue.h"

namespace ernie_image {

std::unique_ptr<JobQueue> open_queue(const QueueOptions& options) {
  return std::make_unique<SqliteQueue>(options);
}

}  // namespace ernie_image
