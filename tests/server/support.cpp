#include "server/support.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "io/image_file.h"
#include "server/log.h"

namespace ernie_image {
namespace {

constexpr int kPatienceMs = 10'000;

Bytes painted_png(std::uint64_t seed, int width_px, int height_px) {
  Image image = {width_px, height_px, {}};
  image.rgb.assign(static_cast<std::size_t>(width_px) * static_cast<std::size_t>(height_px) * 3,
                   static_cast<std::uint8_t>(seed));
  const auto bytes = encode_image(image, {}, {{"parameters", "seed " + std::to_string(seed)}});
  return {bytes.begin(), bytes.end()};
}

}  // namespace

PaintingWorker::PaintingWorker(JobQueue& queue, std::chrono::milliseconds step_time)
    : queue_(queue), step_time_(step_time) {
  queue_.announce(info());
  thread_ = std::thread([this] { run(); });
}

PaintingWorker::~PaintingWorker() {
  stopping_ = true;
  thread_.join();
}

WorkerInfo PaintingWorker::info() {
  WorkerInfo info;
  info.name = "painter";
  info.model = "Paint-Turbo";
  info.device = "cpu";
  info.defaults.width_px = info.defaults.height_px = 64;
  info.defaults.num_inference_steps = 4;
  return info;
}

void PaintingWorker::run() {
  while (!stopping_) {
    for (const Job& job : queue_.claim(info(), 1, std::chrono::milliseconds(20))) paint(job);
  }
}

void PaintingWorker::paint(const Job& job) {
  const JobRequest& request = job.request;
  for (int step = 0; step <= request.num_inference_steps; ++step) {
    JobProgress progress;
    progress.stage = "transformer";
    progress.step = step;
    progress.steps = request.num_inference_steps;
    progress.fraction = static_cast<double>(step) / request.num_inference_steps;
    progress.preview_index = step < request.previews ? step : request.previews - 1;
    const bool goes_on =
        queue_.report(job.id, info().name, progress, request.previews > 0 ? "jpeg" : "");
    if (!goes_on) return queue_.fail(job.id, info().name, {"cancelled", "cancelled"});
    if (prompt_of(request) == "fail")
      return queue_.fail(job.id, info().name, {"device", "on fire"});
    std::this_thread::sleep_for(step_time_);
  }
  JobResult result;
  result.prompt_tokens = 3;
  for (const std::uint64_t seed : request.seeds) {
    Bytes png = painted_png(seed, request.width_px, request.height_px);
    if (prompt_of(request) == "large") png.resize(kLargePicture, 'x');
    const JobImage image = {seed, request.width_px, request.height_px, "image/png", png.size()};
    result.images.push_back({image, std::move(png)});
  }
  if (request.chrome_trace) result.trace = "[]";
  queue_.complete(job.id, info().name, result);
}

TestServer::TestServer(TestServerOptions options)
    : store_(open_queue(options.queue)),
      queue_(*store_, metrics_),
      service_(queue_, options.keys.empty() ? ApiKeys() : ApiKeys::parse("keys", options.keys),
               metrics_, options.service),
      application_(service_),
      server_(application_,
              [&] {
                options.http.connection.max_body_bytes = kMaxBodyBytes;
                return options.http;
              }()),
      port_(server_.bind("127.0.0.1", 0)),
      thread_([this] { server_.serve(); }) {
  set_log_level(LogLevel::error);
  if (options.has_worker) worker_ = std::make_unique<PaintingWorker>(queue_, options.step_time);
}

TestServer::~TestServer() {
  service_.stop();
  server_.stop_serving();
  thread_.join();
}

httplib::Client TestServer::client() const {
  httplib::Client client("127.0.0.1", port_);
  client.set_read_timeout(std::chrono::milliseconds(kPatienceMs));
  return client;
}

RawClient::RawClient(int port, int from) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(0x7f000000U + static_cast<std::uint32_t>(from));
  EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
}

RawClient::~RawClient() { ::close(socket_); }

void RawClient::send(const std::string& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t size = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (size <= 0) return;  // the server may answer before it has read everything
    sent += static_cast<std::size_t>(size);
  }
}

bool RawClient::receive() {
  pollfd poller = {socket_, POLLIN, 0};
  if (::poll(&poller, 1, kPatienceMs) <= 0) return false;
  char bytes[4096];
  const ssize_t size = ::recv(socket_, bytes, sizeof bytes, 0);
  if (size <= 0) return false;
  received_.append(bytes, static_cast<std::size_t>(size));
  return true;
}

std::string RawClient::read_until(const std::string& end) {
  std::size_t found = received_.find(end);
  while (found == std::string::npos && receive()) found = received_.find(end);
  if (found == std::string::npos) return read_all();
  const std::string text = received_.substr(0, found + end.size());
  received_.erase(0, text.size());
  return text;
}

std::string RawClient::read_all() {
  while (receive()) {
  }
  return std::exchange(received_, {});
}

void RawClient::close() { ::shutdown(socket_, SHUT_RDWR); }

int status_of(const std::string& response) {
  return response.size() < 12 ? 0 : std::atoi(response.substr(9, 3).c_str());
}

nlohmann::json post(const TestServer& server, const std::string& path, const nlohmann::json& body,
                    int status, const httplib::Headers& headers) {
  const auto result = server.client().Post(path, headers, body.dump(), "application/json");
  EXPECT_TRUE(result) << path;
  if (!result) return nullptr;
  EXPECT_EQ(result->status, status) << path << ": " << result->body;
  return nlohmann::json::parse(result->body, nullptr, false);
}

nlohmann::json get(const TestServer& server, const std::string& path, int status,
                   const httplib::Headers& headers) {
  const auto result = server.client().Get(path, headers);
  EXPECT_TRUE(result) << path;
  if (!result) return nullptr;
  EXPECT_EQ(result->status, status) << path << ": " << result->body;
  return nlohmann::json::parse(result->body, nullptr, false);
}

nlohmann::json finished_job(const TestServer& server, const std::string& id,
                            const httplib::Headers& headers) {
  const auto deadline = std::chrono::steady_clock::now() + kJobPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    nlohmann::json job = get(server, "/v1/jobs/" + id, 200, headers);
    if (job["status"] != "queued" && job["status"] != "running") return job;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ADD_FAILURE() << id << " does not end";
  return nullptr;
}

}  // namespace ernie_image
