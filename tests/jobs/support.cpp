#include "jobs/support.h"

#include "jobs/redis_server.h"

namespace ernie_image::test {
namespace {

class SqliteHarness final : public QueueHarness {
 public:
  explicit SqliteHarness(std::string folder) : folder_(std::move(folder)) {}

  QueueOptions located(QueueOptions options) const override {
    options.jobs_db = folder_ + "/jobs.db";
    return options;
  }

 private:
  std::string folder_;
};

class RedisHarness final : public QueueHarness {
 public:
  explicit RedisHarness(const std::string& folder) : server_(folder) {
    if (problem().empty()) server_.start();
  }

  std::string problem() const override {
    return RedisServer::is_installed() ? "" : "redis-server is not installed";
  }

  QueueOptions located(QueueOptions options) const override {
    options.url = server_.url();
    return options;
  }

 private:
  RedisServer server_;
};

}  // namespace

JobRequest small_request(const std::string& prompt) {
  JobRequest request;
  request.model = "emoji-tiny";
  request.set_prompts(prompt, "");
  request.width_px = request.height_px = 32;
  request.num_inference_steps = 2;
  request.guidance_scale = 1;
  request.set_seeds({7});
  return request;
}

WorkerInfo worker_named(const std::string& name) {
  WorkerInfo worker;
  worker.name = name;
  worker.model = "emoji-tiny";
  worker.device = "cpu";
  return worker;
}

FinishedImage picture(std::uint64_t seed, const std::string& content_type,
                      const std::string& bytes) {
  FinishedImage finished;
  finished.image.seed = seed;
  finished.image.width_px = 32;
  finished.image.height_px = 48;
  finished.image.content_type = content_type;
  finished.bytes = bytes;
  return finished;
}

JobResult result_of(const std::string& bytes) {
  JobResult result;
  result.prompt_tokens = 5;
  result.images.push_back(picture(7, "image/png", bytes));
  return result;
}

std::unique_ptr<QueueHarness> make_sqlite_harness(const std::string& folder) {
  return std::make_unique<SqliteHarness>(folder);
}

std::unique_ptr<QueueHarness> make_redis_harness(const std::string& folder) {
  return std::make_unique<RedisHarness>(folder);
}

}  // namespace ernie_image::test
