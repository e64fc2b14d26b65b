#include <gtest/gtest.h>

#include "server/support.h"

namespace ernie_image {
namespace {

using nlohmann::json;

std::string metrics(const TestServer& server) { return server.client().Get("/metrics")->body; }

/// Whether the metrics get to show `line`: requests and jobs are counted when they are over, by
/// when a client may have had its answer and asked for the metrics.
bool shows(const TestServer& server, const std::string& line) {
  const auto deadline = std::chrono::steady_clock::now() + kJobPatience;
  while (("\n" + metrics(server)).find("\n" + line + "\n") == std::string::npos) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

TEST(Metrics, CountsRequestsByRouteAndJobsByOutcome) {
  TestServer server;
  const std::string id = post(server, "/v1/jobs", {{"prompt", "a"}}, 202)["id"];
  finished_job(server, id);
  finished_job(server, post(server, "/v1/jobs", {{"prompt", "fail"}}, 202)["id"]);
  get(server, "/nothing-<script>", 404);
  EXPECT_TRUE(shows(server, R"(ernie_image_http_requests_total{route="/v1/jobs",status="202"} 2)"));
  EXPECT_TRUE(shows(server, R"(ernie_image_http_requests_total{route="none",status="404"} 1)"));
  EXPECT_TRUE(shows(server, R"(ernie_image_jobs_total{kind="image",outcome="completed"} 1)"));
  EXPECT_TRUE(shows(server, R"(ernie_image_jobs_total{kind="image",outcome="failed"} 1)"));
  EXPECT_TRUE(shows(server, "ernie_image_steps_total 4"));
  EXPECT_TRUE(shows(server, "ernie_image_workers 1"));
  const std::string text = metrics(server);
  EXPECT_NE(text.find(R"(ernie_image_stage_seconds_count{stage="transformer"} )"),
            std::string::npos);
  EXPECT_EQ(text.find("script"), std::string::npos);
  EXPECT_EQ(text.find(id), std::string::npos);
}

TEST(Metrics, SpeakOpenMetricsOnRequest) {
  const TestServer server;
  const auto answer = server.client().Get(
      "/metrics", {{"Accept", "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"}});
  EXPECT_TRUE(answer->get_header_value("Content-Type").starts_with("application/openmetrics-text"));
  EXPECT_TRUE(answer->body.ends_with("# EOF\n"));
  EXPECT_NE(answer->body.find("# TYPE ernie_image_steps counter\n"), std::string::npos)
      << answer->body;
  EXPECT_NE(answer->body.find("ernie_image_steps_total "), std::string::npos);
  EXPECT_EQ(server.client().Get("/metrics")->body.find("# EOF"), std::string::npos);
}

TEST(Metrics, CountsAQueuedJobThatIsCancelled) {
  TestServerOptions options;
  options.has_worker = false;
  TestServer server(options);
  server.queue().announce(PaintingWorker::info());
  const std::string id = post(server, "/v1/jobs", {{"prompt", "a"}}, 202)["id"];
  EXPECT_TRUE(shows(server, "ernie_image_queued_jobs 1"));
  post(server, "/v1/jobs/" + id + "/cancel", json::object(), 200);
  EXPECT_TRUE(shows(server, R"(ernie_image_jobs_total{kind="image",outcome="cancelled"} 1)"));
  EXPECT_TRUE(shows(server, "ernie_image_queued_jobs 0"));
}

}  // namespace
}  // namespace ernie_image
