// What hostile or careless clients do to connections.
#include <gtest/gtest.h>

#include <deque>

#include "server/support.h"

namespace ernie_image {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

const std::string kPlain = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

TestServerOptions impatient() {
  TestServerOptions options;
  options.http.connection.patience = milliseconds(300);
  options.http.connection.idle = milliseconds(300);
  return options;
}

TEST(Connections, ServesRequestsOneAfterAnother) {
  const TestServer server;
  RawClient client(server.port());
  client.send(kPlain + kPlain);
  EXPECT_EQ(status_of(client.read_until("{\"status\":\"ok\"}")), 200);
  client.send("GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  const std::string rest = client.read_all();
  EXPECT_NE(rest.find("404 there is no such path\r\n"), std::string::npos);
  EXPECT_NE(rest.find("X-Request-Id: "), std::string::npos);
}

TEST(Connections, EndsAHeadThatComesTooSlowly) {
  const TestServer server(impatient());
  RawClient client(server.port());
  const auto start = Clock::now();
  // A byte now and then, each within any timeout of a single read.
  for (int i = 0; i < 100 && Clock::now() - start < milliseconds(600); ++i) {
    client.send(kPlain.substr(static_cast<std::size_t>(i) % 10, 1));
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_EQ(status_of(client.read_all()), 408);
}

TEST(Connections, EndsABodyThatComesTooSlowly) {
  const TestServer server(impatient());
  RawClient client(server.port());
  client.send(
      "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: 100\r\n\r\n{");
  EXPECT_EQ(status_of(client.read_all()), 408);
}

TEST(Connections, EndsAnIdleOne) {
  const TestServer server(impatient());
  RawClient client(server.port());
  client.send(kPlain);
  EXPECT_EQ(status_of(client.read_all()), 200);  // returns: the server closed it
}

TEST(Connections, DoesNotTakeARefusedBodyForTheNextRequest) {
  const TestServer server;
  RawClient client(server.port());
  client.send(
      "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: " +
      std::to_string(kPlain.size()) + "\r\n\r\n" + kPlain);
  const std::string response = client.read_all();
  EXPECT_EQ(status_of(response), 405);
  EXPECT_EQ(response.find("200 OK"), std::string::npos);
}

TEST(Connections, RefusesBodiesThatAreTooLargeBeforeTheyCome) {
  const TestServer server;
  for (const auto& [path, size] : {std::pair("/v1/images/generations", std::size_t{2} << 20),
                                   std::pair("/v1/jobs", std::size_t{25} << 20),
                                   std::pair("/sdapi/v1/png-info", std::size_t{1} << 40)}) {
    RawClient client(server.port());
    client.send(std::string("POST ") + path +
                " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                "Content-Length: " +
                std::to_string(size) + "\r\n\r\n");
    EXPECT_EQ(status_of(client.read_all()), 413) << path;
  }
}

TEST(Connections, ClosesOneThatSendsNoEndOfAHead) {
  const TestServer server;
  RawClient client(server.port());
  client.send("GET / HTTP/1.1\r\nA: " + std::string(100'000, 'a'));
  EXPECT_EQ(status_of(client.read_all()), 431);
  RawClient other(server.port());
  other.send(std::string(100'000, 'a'));
  EXPECT_EQ(status_of(other.read_all()), 414);
}

/// Clients that each keep a thread of the server busy: their bodies do not come.
std::deque<RawClient> busy_clients(int port, int count, int address = 1) {
  std::deque<RawClient> clients;
  for (int i = 0; i < count; ++i) {
    clients.emplace_back(port, address);
    clients.back().send(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Expect: 100-continue\r\nContent-Length: 100\r\n\r\n");
    EXPECT_EQ(status_of(clients.back().read_until("\r\n\r\n")), 100);
  }
  return clients;
}

int status_for(int port, const std::string& request, int address = 1) {
  RawClient client(port, address);
  client.send(request);
  return status_of(client.read_until("\r\n\r\n"));
}

const std::string kReady = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";

TEST(Connections, TurnsAwayThoseThatAreTooMany) {
  TestServerOptions options;
  options.http.max_connections = 2;
  const TestServer server(options);
  std::deque<RawClient> busy = busy_clients(server.port(), 2);
  {
    RawClient third(server.port());
    third.send(kReady);
    const std::string response = third.read_all();
    EXPECT_EQ(status_of(response), 503);
    EXPECT_NE(response.find("Retry-After"), std::string::npos);
  }
  EXPECT_EQ(status_for(server.port(), kPlain), 200);  // says that the process works, in any case
  busy.pop_front();
  // The freed place can be had again.
  int status = 0;
  for (int i = 0; i < 500 && status != 200; ++i) status = status_for(server.port(), kReady);
  EXPECT_EQ(status, 200);
}

TEST(Connections, SilentAndSlowOnesTakeNoThread) {
  TestServerOptions options;
  options.http.max_connections = 2;
  const TestServer server(options);
  std::deque<RawClient> clients;
  for (int i = 0; i < 12; ++i) {
    clients.emplace_back(server.port());
    if (i % 2 == 0) clients.back().send("GET /slow");
  }
  EXPECT_EQ(status_for(server.port(), kReady), 200);
}

TEST(Connections, OneAddressLeavesPlacesToOthers) {
  TestServerOptions options;
  options.http.max_connections = 2;
  const TestServer server(options);
  const std::deque<RawClient> busy = busy_clients(server.port(), 2);
  EXPECT_EQ(status_for(server.port(), kReady), 503);
  EXPECT_EQ(status_for(server.port(), kReady, 2), 200);
}

TEST(Connections, OneThatIsWaitedForMakesRoomForAnotherAddress) {
  TestServerOptions options;
  options.http.max_connections = 2;
  const TestServer server(options);
  const std::deque<RawClient> busy = busy_clients(server.port(), 2);
  const std::deque<RawClient> other = busy_clients(server.port(), 1, 2);  // all places are taken
  int status = 503;
  const auto start = Clock::now();
  while (status == 503 && Clock::now() - start < std::chrono::seconds(30)) {
    status = status_for(server.port(), kReady, 3);
    if (status == 503) std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_EQ(status, 200);
  EXPECT_LT(Clock::now() - start, options.http.connection.patience);  // it did not end by itself
}

/// Slow heads of one address that come again when they are dropped.
TEST(Connections, SlowHeadsDoNotKeepOthersOut) {
  TestServerOptions options;
  options.http.max_connections = 16;
  const TestServer server(options);
  std::deque<RawClient> slow;
  int served = 0;
  constexpr int kRequests = 50;
  for (int i = 0; i < kRequests; ++i) {
    for (int k = 0; k < 8; ++k) {
      slow.emplace_back(server.port());
      slow.back().send("GET /slow HTTP/1.1\r\nHost: ");
      if (slow.size() > 200) slow.pop_front();
    }
    const auto start = Clock::now();
    const int status = status_for(server.port(), kReady, 2);
    served += status == 200 && Clock::now() - start < std::chrono::seconds(1) ? 1 : 0;
  }
  EXPECT_GE(served, kRequests * 95 / 100);
}

TEST(Connections, StopsWhileClientsAreIdleOrMidway) {
  auto server = std::make_unique<TestServer>(impatient());
  RawClient idle(server->port());
  RawClient midway(server->port());
  midway.send("POST /v1/jobs HTTP/1.1\r\n");
  const auto start = Clock::now();
  server.reset();
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(5));
}

TEST(Connections, GoesOnAfterAClientThatLeavesInTheMiddleOfAStream) {
  TestServerOptions options;
  options.step_time = milliseconds(20);
  TestServer server(options);
  const nlohmann::json job =
      post(server, "/v1/jobs", {{"prompt", "a"}, {"num_inference_steps", 30}}, 202);
  {
    RawClient client(server.port());
    client.send("GET " + ("/v1/jobs/" + job["id"].get<std::string>()) +
                "/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(status_of(client.read_until("event: job")), 200);
  }
  // Somebody who only watched: the job goes on.
  EXPECT_EQ(finished_job(server, job["id"])["status"], "completed");
}

}  // namespace
}  // namespace ernie_image
