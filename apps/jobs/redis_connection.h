// Redis with RAII: an address, a connection, replies as values.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ernie_image/error.h"
#include "jobs/job_queue.h"

struct redisContext;

namespace ernie_image {

struct RedisAddress {
  std::string host = "127.0.0.1";
  int port = 6379;
  std::string socket;  ///< a path instead of host and port
  std::string user;
  std::string password;
  int database = 0;
};

/// redis://[[user]:password@]host[:port][/database] or unix:///path/of/socket; user and password
/// may be percent-encoded, and a % in them must be. Throws Error(invalid_argument) without
/// repeating the password, Error(unsupported) for rediss://.
RedisAddress parse_redis_url(const std::string& url);

/// What came back. Whatever has another type than was asked for counts as empty.
struct RedisReply {
  enum class Type { nothing, text, integer, list };

  Type type = Type::nothing;
  std::string text;
  std::int64_t integer = 0;
  std::vector<RedisReply> list;

  bool is_nothing() const { return type == Type::nothing; }
};

/// The connection is lost, or the server is not ready yet: worth another try on a new one.
class RedisUnavailable : public StoreUnavailable {
 public:
  using StoreUnavailable::StoreUnavailable;
};

/// The server does not know the script that EVALSHA names.
class RedisNoScript : public Error {
 public:
  explicit RedisNoScript(const std::string& message) : Error(ErrorKind::device, message) {}
};

/// The longest that a connection waits for an answer.
inline constexpr std::chrono::milliseconds kRedisTimeout{10'000};

/// One thread at a time. The process must ignore SIGPIPE.
class RedisConnection {
 public:
  /// `timeout` is for connecting and for each command of the login; see set_timeout(). Throws
  /// RedisUnavailable, or StoreRefused if the password is.
  explicit RedisConnection(const RedisAddress& address,
                           std::chrono::milliseconds timeout = kRedisTimeout);
  ~RedisConnection();
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  /// For each command from now on; at least a millisecond, kRedisTimeout at most.
  void set_timeout(std::chrono::milliseconds timeout);

  /// Sends the words and waits for the answer. Throws RedisUnavailable, after which the connection
  /// is of no use, StoreRefused without the right to the command, or Error(device) with what the
  /// server says.
  RedisReply command(const std::vector<std::string_view>& words);

  /// The next message of a channel that was subscribed to, however long that takes; nothing once
  /// the descriptor `interrupt` is readable. Throws RedisUnavailable.
  std::optional<RedisReply> next_message(int interrupt);

 private:
  struct Close {
    void operator()(redisContext* context) const;
  };

  RedisUnavailable lost() const;

  std::string where_;
  std::unique_ptr<redisContext, Close> context_;
};

}  // namespace ernie_image
