// What clients can make the server hold in memory.
#include <gtest/gtest.h>

#include <malloc.h>

#include <deque>

#include "io/file_view.h"
#include "server/spooled_text.h"
#include "server/support.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMegabyte = 1 << 20;

std::string head_of_body(std::size_t bytes) {
  return "POST /sdapi/v1/png-info HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
         "Expect: 100-continue\r\nContent-Length: " +
         std::to_string(bytes) + "\r\n\r\n";
}

/// Of a client whose body never comes: what the server says once it has asked for it.
std::string answer_to_head(RawClient& client, std::size_t bytes) {
  client.send(head_of_body(bytes));
  EXPECT_EQ(status_of(client.read_until("\r\n\r\n")), 100);
  return client.read_until("\r\n\r\n");
}

/// Until bodies of so many bytes count.
bool are_counted(TestServer& server, std::size_t bytes) {
  const auto deadline = std::chrono::steady_clock::now() + kJobPatience;
  while (server.service().memory().used_bytes() != 4 * bytes) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

TEST(ServerMemory, LargeBodiesShareOneBudget) {
  TestServerOptions options;
  options.service.request_memory_bytes = 32 * kMegabyte;  // bodies count four times
  TestServer server(options);
  RawClient first(server.port());
  first.send(head_of_body(3 * kMegabyte));
  ASSERT_TRUE(are_counted(server, 3 * kMegabyte));
  // One address has no more than half, and all together no more than the whole.
  RawClient again(server.port());
  EXPECT_EQ(status_of(answer_to_head(again, 2 * kMegabyte)), 503);
  RawClient second(server.port(), 2);
  second.send(head_of_body(4 * kMegabyte));
  ASSERT_TRUE(are_counted(server, 7 * kMegabyte));
  RawClient third(server.port(), 3);
  const std::string refused = answer_to_head(third, 2 * kMegabyte);
  EXPECT_EQ(status_of(refused), 503);
  EXPECT_NE(refused.find("Retry-After"), std::string::npos);
  // What is small is served all the same.
  post(server, "/v1/jobs", {{"prompt", "a"}}, 202);
  second.close();
  ASSERT_TRUE(are_counted(server, 3 * kMegabyte));
  RawClient fourth(server.port(), 3);
  fourth.send(head_of_body(2 * kMegabyte));
  EXPECT_TRUE(are_counted(server, 5 * kMegabyte));
}

std::uint64_t anonymous_bytes() { return resident_memory().anonymous_bytes; }

/// Clients that ask for a large response and read nothing of it but its head.
void expect_little_is_held(const TestServer& server, const std::string& request) {
  constexpr int kClients = 32;
  const std::uint64_t before = anonymous_bytes();
  std::deque<RawClient> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back(server.port());
    clients.back().send(request);
    EXPECT_EQ(status_of(clients.back().read_until("\r\n\r\n")), 200);
  }
  malloc_trim(0);  // what the allocator keeps is not a client's
  EXPECT_LT(anonymous_bytes(), before + (kClients + 4) * kMegabyte);
}

TEST(ServerMemory, ClientsThatReadNothingCostLittle) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer keeps what is given back";
#endif
  const TestServer server;
  const nlohmann::json job = post(server, "/v1/jobs", {{"prompt", "large"}}, 202);
  const std::string id = finished_job(server, job["id"])["id"];
  const auto whole = server.client().Get("/v1/jobs/" + id + "/images/0");
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->body.size(), kLargePicture);
  EXPECT_EQ(whole->get_header_value("Content-Type"), "image/png");
  expect_little_is_held(server,
                        "GET /v1/jobs/" + id + "/images/0 HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

TEST(ServerMemory, AnEventThatIsLargeArrivesWhole) {
  const TestServer server;
  const auto result = server.client().Post(
      "/v1/images/generations", R"({"prompt":"large","stream":true})", "application/json");
  ASSERT_TRUE(result);
  const std::string name = "\"b64_json\":\"";
  const std::size_t begin = result->body.find(name) + name.size();
  EXPECT_EQ(result->body.find('"', begin) - begin, (kLargePicture + 2) / 3 * 4);
  EXPECT_TRUE(result->body.ends_with("}\n\n"));
}

}  // namespace
}  // namespace ernie_image
