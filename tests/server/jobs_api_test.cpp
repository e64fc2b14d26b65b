#include <gtest/gtest.h>

#include <set>

#include "io/test_files.h"
#include "jobs/sqlite_database.h"
#include "server/support.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr const char* kKeys =
    "alice:0123456789abcdef\n"
    "bob:fedcba9876543210:2\n";
const httplib::Headers kAlice = {{"Authorization", "Bearer 0123456789abcdef"}};
const httplib::Headers kBob = {{"Authorization", "Bearer fedcba9876543210"}};

TestServerOptions with_keys() {
  TestServerOptions options;
  options.keys = kKeys;
  return options;
}

TEST(JobsApi, MakesAPicture) {
  TestServer server;
  const json job = post(server, "/v1/jobs", {{"prompt", "a cat"}, {"seed", 7}, {"n", 2}}, 202);
  EXPECT_EQ(job["object"], "job");
  EXPECT_EQ(job["request"]["seeds"], json({7, 8}));
  const json done = finished_job(server, job["id"]);
  EXPECT_EQ(done["status"], "completed");
  ASSERT_EQ(done["images"].size(), 2u);
  EXPECT_EQ(done["images"][1]["seed"], 8);
  const auto image = server.client().Get(done["images"][1]["url"].get<std::string>());
  ASSERT_TRUE(image);
  EXPECT_EQ(image->get_header_value("Content-Type"), "image/png");
  EXPECT_EQ(image->body.size(), done["images"][1]["size_bytes"]);
  EXPECT_EQ(
      get(server, "/v1/jobs/" + job["id"].get<std::string>() + "/images/2", 404)["error"]["code"],
      "not_found");
}

TEST(JobsApi, RefusesWhatItDoesNotKnow) {
  const TestServer server;
  EXPECT_EQ(post(server, "/v1/jobs", {{"prompt", "a"}, {"promt", "b"}}, 400)["error"]["param"],
            "promt");
  EXPECT_EQ(post(server, "/v1/jobs", json::object(), 400)["error"]["param"], "prompt");
  EXPECT_EQ(post(server, "/v1/jobs", {{"prompt", "a"}, {"kind", "enhance"}}, 400)["error"]["param"],
            "kind");
  EXPECT_EQ(post(server, "/v1/jobs", {{"prompt", "a"}, {"previews", 5}}, 400)["error"]["param"],
            "previews");
  for (const char* path : {"/v1/jobs/x", "/v1/jobs/..%2f..%2fetc", "/v1/jobs/x/events",
                           "/v1/jobs/x/images/0", "/v1/jobs/00000000000000000000000000000000"}) {
    get(server, path, 404);
  }
}

TEST(JobsApi, StreamsProgressAndPreviewsUntilTheEnd) {
  TestServerOptions options;
  options.step_time = std::chrono::milliseconds(30);
  TestServer server(options);
  const json job = post(server, "/v1/jobs", {{"prompt", "a"}, {"previews", 4}}, 202);
  const std::string id = job["id"];
  const auto stream = server.client().Get("/v1/jobs/" + id + "/events");
  ASSERT_TRUE(stream);
  EXPECT_EQ(stream->get_header_value("Content-Type"), "text/event-stream");
  const std::string& text = stream->body;
  EXPECT_NE(text.find("event: preview\ndata: {\"b64_json\""), std::string::npos);
  const std::size_t last = text.rfind("event: job\nid: ");
  ASSERT_NE(last, std::string::npos);
  const std::size_t number = last + 15, data = text.find("\ndata: ", number);
  const json final_job = json::parse(text.substr(data + 7, text.find('\n', data + 7) - data - 7));
  EXPECT_EQ(final_job["status"], "completed");
  // A browser asks again after the end, with the last id it got.
  const auto again = [&](const std::string& last_id) {
    return server.client().Get("/v1/jobs/" + id + "/events", {{"Last-Event-ID", last_id}})->status;
  };
  EXPECT_EQ(again(text.substr(number, data - number)), 204);
  EXPECT_EQ(again("0"), 200);
}

TEST(JobsApi, CancelsAndForgets) {
  TestServerOptions options;
  options.step_time = std::chrono::milliseconds(50);
  TestServer server(options);
  const json job = post(server, "/v1/jobs", {{"prompt", "a"}, {"num_inference_steps", 200}}, 202);
  const std::string path = "/v1/jobs/" + job["id"].get<std::string>();
  const auto early = server.client().Delete(path);
  ASSERT_TRUE(early);
  EXPECT_EQ(early->status, 409);
  post(server, path + "/cancel", json::object(), 200);
  EXPECT_EQ(finished_job(server, job["id"])["status"], "cancelled");
  EXPECT_EQ(post(server, path + "/cancel", json::object(), 409)["error"]["code"], "job_is_final");
  const auto deleted = server.client().Delete(path);
  ASSERT_TRUE(deleted);
  EXPECT_EQ(deleted->status, 204);
  get(server, path, 404);
}

TEST(JobsApi, ForgetsOnePictureOfSeveral) {
  TestServer server(with_keys());
  const json job = post(server, "/v1/jobs", {{"prompt", "a"}, {"n", 3}}, 202, kAlice);
  const std::string path = "/v1/jobs/" + job["id"].get<std::string>();
  const json before = finished_job(server, job["id"], kAlice)["images"];
  ASSERT_EQ(before.size(), 3u);
  EXPECT_EQ(server.client().Delete(path + "/images/1", kBob)->status, 404);
  EXPECT_EQ(server.client().Delete(path + "/images/3", kAlice)->status, 404);
  EXPECT_EQ(server.client().Delete(path + "/images/1", kAlice)->status, 204);
  EXPECT_EQ(server.client().Delete(path + "/images/1", kAlice)->status, 404);
  const json left = get(server, path, 200, kAlice)["images"];
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0], before[0]);
  EXPECT_EQ(left[1], before[2]);
  get(server, path + "/images/1", 404, kAlice);
  EXPECT_EQ(server.client().Get(path + "/images/2", kAlice)->status, 200);
}

class DamagedJobsApi : public test::TemporaryFolder {};

TEST_F(DamagedJobsApi, OneDamagedJobIsReportedAloneAndCanBeDeleted) {
  TestServerOptions options = with_keys();
  options.queue.jobs_db = path("jobs.db");
  std::string damaged, good;
  {
    TestServer server(options);
    damaged = post(server, "/v1/jobs", {{"prompt", "a"}}, 202, kAlice)["id"];
    good = post(server, "/v1/jobs", {{"prompt", "a"}}, 202, kAlice)["id"];
    while (server.queue().counts().queued + server.queue().counts().running > 0) {
      std::this_thread::yield();
    }
  }
  SqliteDatabase(path("jobs.db"))
      .execute_script("UPDATE jobs SET request = '[]' WHERE id = '" + damaged + "'");
  TestServer server(options);
  for (const char* more : {"", "/images/0", "/events", "/trace"}) {
    const json error = get(server, "/v1/jobs/" + damaged + more, 500, kAlice)["error"];
    EXPECT_EQ(error["code"], "job_is_damaged");
    EXPECT_EQ(error["message"].get<std::string>().find(path("")), std::string::npos) << error;
  }
  get(server, "/v1/jobs/" + damaged, 404, kBob);
  const json list = get(server, "/v1/jobs?limit=1", 200, kAlice);
  ASSERT_EQ(list["data"].size(), 1u);
  EXPECT_EQ(list["data"][0]["id"], good);
  EXPECT_EQ(list["has_more"], false);
  EXPECT_EQ(server.client().Delete("/v1/jobs/" + damaged, kBob)->status, 404);
  EXPECT_EQ(server.client().Delete("/v1/jobs/" + damaged, kAlice)->status, 204);
  get(server, "/v1/jobs/" + damaged, 404, kAlice);
}

TEST(JobsApi, ListsByPages) {
  TestServer server;
  std::set<std::string> made;
  for (int i = 0; i < 5; ++i) made.insert(post(server, "/v1/jobs", {{"prompt", "a"}}, 202)["id"]);
  std::set<std::string> seen;
  std::string before;
  for (int page = 0; page < 3; ++page) {
    const json list =
        get(server, "/v1/jobs?limit=2" + (before.empty() ? "" : "&before=" + before), 200);
    EXPECT_EQ(list["has_more"], page < 2);
    for (const json& job : list["data"]) seen.insert(before = job["id"]);
  }
  EXPECT_EQ(seen, made);
  for (const char* query : {"limit=0", "limit=x", "limit=201", "limit=-1", "status=done"}) {
    get(server, std::string("/v1/jobs?") + query, 400);
  }
  get(server, "/v1/jobs?before=x", 404);
}

TEST(JobsApi, GivesTheSameJobForTheSameIdempotencyKey) {
  TestServer server;
  const httplib::Headers key = {{"Idempotency-Key", "once"}};
  const json first = post(server, "/v1/jobs", {{"prompt", "a"}}, 202, key);
  EXPECT_EQ(post(server, "/v1/jobs", {{"prompt", "a"}}, 202, key)["id"], first["id"]);
  EXPECT_EQ(post(server, "/v1/jobs", {{"prompt", "b"}}, 409, key)["error"]["code"],
            "idempotency_conflict");
}

TEST(JobsApi, AnIdempotencyKeyIsForOneRequest) {
  TestServer server;
  const httplib::Headers key = {{"Idempotency-Key", "once"}};
  const json asked = {{"prompt", "a"}, {"seed", 1}};
  const json first = post(server, "/v1/jobs", asked, 202, key);
  EXPECT_EQ(post(server, "/v1/jobs", asked, 202, key)["id"], first["id"]);
  const json others[] = {{{"seed", 2}},         {{"seed", -1}},    {{"output_compression", 10}},
                         {{"priority", "low"}}, {{"previews", 1}}, {{"negative_prompt", "b"}}};
  for (const json& other : others) {
    json changed = asked;
    changed.update(other);
    EXPECT_EQ(post(server, "/v1/jobs", changed, 409, key)["error"]["code"], "idempotency_conflict")
        << other;
  }
}

TEST(JobsApi, RefusedAndRepeatedRequestsUseUpNoQuota) {
  TestServerOptions options;
  options.keys = "cat:0123456789abcdef:3:0.0123\n";  // three of 64x64
  options.has_worker = false;
  options.queue.max_queued = 2;
  TestServer server(options);
  server.queue().announce(PaintingWorker::info());
  httplib::Headers cat = {{"Authorization", "Bearer 0123456789abcdef"}};
  const std::string first = post(server, "/v1/jobs", {{"prompt", "a"}}, 202, cat)["id"];
  httplib::Headers keyed = cat;
  keyed.emplace("Idempotency-Key", "once");
  post(server, "/v1/jobs", {{"prompt", "a"}}, 202, keyed);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(post(server, "/v1/jobs", {{"prompt", "a"}}, 429, cat)["error"]["code"], "queue_full");
    post(server, "/v1/jobs", {{"prompt", "a"}}, 202, keyed);
    post(server, "/v1/jobs", {{"prompt", "b"}}, 409, keyed);
  }
  EXPECT_TRUE(server.queue().cancel(first));
  post(server, "/v1/jobs", {{"prompt", "a"}}, 202, cat);  // the third and last
  EXPECT_EQ(post(server, "/v1/jobs", {{"prompt", "a"}}, 429, cat)["error"]["code"],
            "rate_limit_exceeded");
  post(server, "/v1/jobs", {{"prompt", "a"}}, 202, keyed);
}

TEST(JobsApi, KeepsTheJobsOfKeysApart) {
  TestServer server(with_keys());
  post(server, "/v1/jobs", {{"prompt", "a"}}, 401);
  const std::string id = post(server, "/v1/jobs", {{"prompt", "a"}}, 202, kAlice)["id"];
  get(server, "/v1/jobs/" + id, 200, kAlice);
  get(server, "/v1/jobs/" + id, 404, kBob);
  get(server, "/v1/jobs/" + id + "/images/0", 404, kBob);
  EXPECT_EQ(get(server, "/v1/jobs", 200, kBob)["data"].size(), 0u);
  get(server, "/v1/jobs?before=" + id, 404, kBob);
  post(server, "/v1/jobs/" + id + "/cancel", json::object(), 404, kBob);
  get(server, "/metrics", 401);
  EXPECT_EQ(get(server, "/v1/capabilities", 200)["auth_required"], true);
  EXPECT_EQ(get(server, "/v1/capabilities", 200)["keeps_jobs"], false);
}

TEST(JobsApi, HoldsKeysToTheirQuotas) {
  const TestServer server(with_keys());
  for (int i = 0; i < 2; ++i) post(server, "/v1/jobs", {{"prompt", "a"}}, 202, kBob);
  const auto result =
      server.client().Post("/v1/jobs", kBob, R"({"prompt":"a"})", "application/json");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status, 429);
  EXPECT_EQ(result->get_header_value("Retry-After"), "30");
}

TEST(JobsApi, ShowsOthersJobsOnlyAsPlacesInTheQueue) {
  TestServerOptions options = with_keys();
  options.has_worker = false;
  TestServer server(options);
  server.queue().announce(PaintingWorker::info());
  post(server, "/v1/jobs", {{"prompt", "a"}}, 202, kAlice);
  const json queue = get(server, "/v1/queue", 200, kBob);
  EXPECT_EQ(queue["queued"], 1);
  ASSERT_EQ(queue["jobs"].size(), 1u);
  EXPECT_EQ(queue["jobs"][0]["mine"], false);
  EXPECT_EQ(queue["jobs"][0]["id"], nullptr);
  EXPECT_EQ(queue["workers"].size(), 1u);
}

TEST(JobsApi, ShowsTheQueueInItsOrder) {
  TestServerOptions options;
  options.has_worker = false;
  TestServer server(options);
  server.queue().announce(PaintingWorker::info());
  std::vector<json> ids;
  for (const char* prompt : {"a", "b", "c"})
    ids.push_back(post(server, "/v1/jobs", {{"prompt", prompt}}, 202)["id"]);
  const json queue = get(server, "/v1/queue", 200);
  std::vector<json> shown;
  for (const json& job : queue["jobs"]) shown.push_back(job["id"]);
  EXPECT_EQ(shown, ids);
}

TEST(JobsApi, RefusesJobsBeyondTheQueue) {
  TestServerOptions options;
  options.has_worker = false;
  options.queue.max_queued = 1;
  TestServer server(options);
  EXPECT_EQ(post(server, "/v1/jobs", {{"prompt", "a"}}, 503)["error"]["code"], "no_worker");
  server.queue().announce(PaintingWorker::info());
  post(server, "/v1/jobs", {{"prompt", "a"}}, 202);
  EXPECT_EQ(post(server, "/v1/jobs", {{"prompt", "a"}}, 429)["error"]["code"], "queue_full");
}

TEST(JobsApi, TakesNoJobsWhileDraining) {
  TestServer server;
  get(server, "/readyz", 200);
  server.service().drain();
  get(server, "/readyz", 503);
  get(server, "/healthz", 200);
  post(server, "/v1/jobs", {{"prompt", "a"}}, 503);
}

TEST(JobsApi, GivesTheTraceOfAJobThatAskedForOne) {
  TestServer server;
  const std::string plain = post(server, "/v1/jobs", {{"prompt", "a"}}, 202)["id"];
  const std::string traced =
      post(server, "/v1/jobs", {{"prompt", "a"}, {"trace", true}}, 202)["id"];
  finished_job(server, traced);
  EXPECT_EQ(get(server, "/v1/jobs/" + traced + "/trace", 200), json::array());
  get(server, "/v1/jobs/" + plain + "/trace", 409);
}

TEST(Page, IsServedWithItsPolicy) {
  const TestServer server(with_keys());
  const auto page = server.client().Get("/");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->status, 200);
  EXPECT_NE(page->body.find("<!doctype html>"), std::string::npos);
  EXPECT_NE(page->get_header_value("Content-Security-Policy").find("default-src 'none'"),
            std::string::npos);
  EXPECT_EQ(page->get_header_value("X-Content-Type-Options"), "nosniff");
  const std::string etag = page->get_header_value("ETag");
  EXPECT_EQ(server.client().Get("/", {{"If-None-Match", etag}})->status, 304);
  for (const char* path :
       {"/web/index.html", "/../README.md", "/%2e%2e/README.md", "/etc/passwd"}) {
    EXPECT_EQ(server.client().Get(path)->status, 404) << path;
  }
}

}  // namespace
}  // namespace ernie_image
