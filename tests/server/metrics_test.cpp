#include <gtest/gtest.h>

#include "server/support.h"

namespace ernie_image {
namespace {

using nlohmann::json;

std::string metrics(const TestServer& server) { return server.client().Get("/metrics")->body; }

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(Metrics, CountsRequestsByRouteAndJobsByOutcome) {
  TestServer server;
  const std::string id = post(server, "/v1/jobs", {{"prompt", "a"}}, 202)["id"];
  finished_job(server, id);
  finished_job(server, post(server, "/v1/jobs", {{"prompt", "fail"}}, 202)["id"]);
  get(server, "/nothing-<script>", 404);
  const std::string text = metrics(server);
  EXPECT_TRUE(has_line(text, R"(ernie_image_http_requests_total{route="/v1/jobs",status="202"} 2)"))
      << text;
  EXPECT_TRUE(has_line(text, R"(ernie_image_http_requests_total{route="none",status="404"} 1)"));
  EXPECT_TRUE(has_line(text, R"(ernie_image_jobs_total{kind="image",outcome="completed"} 1)"));
  EXPECT_TRUE(has_line(text, R"(ernie_image_jobs_total{kind="image",outcome="failed"} 1)"));
  EXPECT_TRUE(has_line(text, "ernie_image_steps_total 4"));
  EXPECT_TRUE(has_line(text, "ernie_image_workers 1"));
  EXPECT_NE(text.find(R"(ernie_image_stage_seconds_count{stage="transformer"} )"),
            std::string::npos);
  EXPECT_EQ(text.find("script"), std::string::npos);
  EXPECT_EQ(text.find(id), std::string::npos);
}

TEST(Metrics, CountsAQueuedJobThatIsCancelled) {
  TestServerOptions options;
  options.has_worker = false;
  TestServer server(options);
  server.queue().announce(PaintingWorker::info());
  const std::string id = post(server, "/v1/jobs", {{"prompt", "a"}}, 202)["id"];
  EXPECT_TRUE(has_line(metrics(server), "ernie_image_queued_jobs 1"));
  post(server, "/v1/jobs/" + id + "/cancel", json::object(), 200);
  EXPECT_TRUE(
      has_line(metrics(server), R"(ernie_image_jobs_total{kind="image",outcome="cancelled"} 1)"));
  EXPECT_TRUE(has_line(metrics(server), "ernie_image_queued_jobs 0"));
}

}  // namespace
}  // namespace ernie_image
