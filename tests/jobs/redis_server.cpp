#include "jobs/redis_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "jobs/redis_connection.h"
#include "jobs/support.h"

namespace ernie_image::test {

RedisServer::RedisServer(std::string folder) : folder_(std::move(folder)) {}

RedisServer::~RedisServer() { kill(); }

bool RedisServer::is_installed() {
  for (const char* path : {"/usr/bin/redis-server", "/usr/local/bin/redis-server"}) {
    if (::access(path, X_OK) == 0) return true;
  }
  return false;
}

void RedisServer::start() {
  const std::string socket = folder_ + "/redis.sock", log = folder_ + "/redis.log";
  process_ = ::fork();
  if (process_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket.c_str(), "--dir",
             folder_.c_str(), "--logfile", log.c_str(), "--appendonly", "yes", "--appendfsync",
             "always", "--save", "", static_cast<char*>(nullptr));
    ::_exit(127);
  }
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    try {
      RedisConnection(parse_redis_url(url())).command({"PING"});
      return;
    } catch (const Error&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  FAIL() << "redis-server does not answer: " << read_whole(log);
}

void RedisServer::kill() {
  if (process_ <= 0) return;
  ::kill(process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
  process_ = -1;
}

}  // namespace ernie_image::test
