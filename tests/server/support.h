// A server in this process with a worker that paints instead of running a model, and clients for
// it.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include "jobs/queue_options.h"
#include "request/request.h"
#include "server/application.h"
#include "server/measured_queue.h"

namespace ernie_image {

/// Bytes of a picture for the prompt "large".
constexpr std::size_t kLargePicture = 4 << 20;

/// Claims jobs and completes each after its steps with a plain PNG in which the seed can be read.
class PaintingWorker {
 public:
  /// `step_time` is how long one step takes.
  PaintingWorker(JobQueue& queue, std::chrono::milliseconds step_time);
  ~PaintingWorker();

  static WorkerInfo info();

 private:
  void run();
  void paint(const Job& job);

  JobQueue& queue_;
  std::chrono::milliseconds step_time_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

struct TestServerOptions {
  std::string keys;  ///< text of a key file; empty: none
  HttpLimits http;
  ServiceOptions service;
  QueueOptions queue;
  std::chrono::milliseconds step_time{1};
  bool has_worker = true;
};

class TestServer {
 public:
  explicit TestServer(TestServerOptions options = {});
  ~TestServer();

  int port() const { return port_; }
  JobQueue& queue() { return queue_; }
  Service& service() { return service_; }

  httplib::Client client() const;

 private:
  std::unique_ptr<JobQueue> store_;
  Metrics metrics_;
  MeasuredQueue queue_;
  Service service_;
  Application application_;
  HttpServer server_;
  int port_;
  std::thread thread_;
  std::unique_ptr<PaintingWorker> worker_;
};

/// A socket to `port` of this machine.
class RawClient {
 public:
  /// From 127.0.0.`address`.
  explicit RawClient(int port, int address = 1);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void send(const std::string& bytes);
  /// Everything up to the end of the connection, or what came within ten seconds.
  std::string read_all();
  /// Up to and including `end`, or what came within ten seconds.
  std::string read_until(const std::string& end);
  /// No more from this side.
  void close();

 private:
  /// Whether more came.
  bool receive();

  int socket_;
  std::string received_;  ///< and not yet read
};

/// Status of a response's first line; 0 if there is none.
int status_of(const std::string& response);

/// What `POST path` with `body` gives; expects `status`.
nlohmann::json post(const TestServer& server, const std::string& path, const nlohmann::json& body,
                    int status, const httplib::Headers& headers = {});
nlohmann::json get(const TestServer& server, const std::string& path, int status,
                   const httplib::Headers& headers = {});

/// How long to wait for what is on its way.
constexpr std::chrono::seconds kJobPatience{30};

/// The job once it is final.
nlohmann::json finished_job(const TestServer& server, const std::string& id,
                            const httplib::Headers& headers = {});

}  // namespace ernie_image
