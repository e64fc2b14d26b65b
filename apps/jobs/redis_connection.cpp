#include "jobs/redis_connection.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

namespace ernie_image {
namespace {

constexpr std::chrono::milliseconds kConnectTimeout{2000};

timeval limited(std::chrono::milliseconds time, std::chrono::milliseconds most) {
  const auto limit = std::clamp(time, std::chrono::milliseconds(1), most);
  return {limit.count() / 1000, (limit.count() % 1000) * 1000};
}

constexpr int kMaxPort = 65535;
constexpr int kMaxDatabase = 65535;

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};

[[noreturn]] void refuse_url(const std::string& problem) {
  throw Error(ErrorKind::invalid_argument,
              "the address of Redis " + problem +
                  "; expected redis://[:password@]host[:port][/database] or unix:///path");
}

int number(std::string_view text, int max, const char* name) {
  int value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value < 0 ||
      value > max) {
    refuse_url(std::string("has a wrong ") + name);
  }
  return value;
}

/// Before and behind the separator, which is not there: nothing and all.
std::pair<std::optional<std::string_view>, std::string_view> split_front(std::string_view text,
                                                                         std::size_t at) {
  if (at == std::string_view::npos) return {std::nullopt, text};
  return {text.substr(0, at), text.substr(at + 1)};
}

RedisReply value_of(const redisReply& reply) {
  RedisReply value;
  switch (reply.type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
      value.type = RedisReply::Type::text;
      value.text.assign(reply.str, reply.len);
      break;
    case REDIS_REPLY_INTEGER:
      value.type = RedisReply::Type::integer;
      value.integer = reply.integer;
      break;
    case REDIS_REPLY_ARRAY:
      value.type = RedisReply::Type::list;
      for (std::size_t i = 0; i < reply.elements; ++i) {
        value.list.push_back(value_of(*reply.element[i]));
      }
      break;
    default:
      break;
  }
  return value;
}

/// Errors of a server that is starting, or stopping, or no master.
bool is_temporary(std::string_view message) {
  constexpr std::array<std::string_view, 5> kPrefixes = {"LOADING", "MASTERDOWN", "READONLY",
                                                         "BUSY ", "TRYAGAIN"};
  return std::ranges::any_of(kPrefixes,
                             [&](std::string_view prefix) { return message.starts_with(prefix); });
}

/// Of the login, or of a user who may not do what is needed.
bool is_refusal(std::string_view message) {
  constexpr std::array<std::string_view, 5> kPrefixes = {"NOAUTH", "WRONGPASS", "NOPERM", "DENIED",
                                                         "ERR AUTH"};
  return std::ranges::any_of(kPrefixes,
                             [&](std::string_view prefix) { return message.starts_with(prefix); });
}

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const std::string_view digits = text.substr(i + 1, 2);
    unsigned value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || parsed.ptr != digits.data() + digits.size() || value == 0) {
      refuse_url("has a % in its user or password that begins no escape (write %25)");
    }
    decoded += static_cast<char>(value);
    i += digits.size();
  }
  return decoded;
}

}  // namespace

RedisAddress parse_redis_url(const std::string& url) {
  RedisAddress address;
  std::string_view rest = url;
  if (rest.starts_with("rediss://")) {
    throw Error(ErrorKind::unsupported,
                "TLS to Redis is not built in; put a tunnel in front of it, and name that");
  }
  if (rest.starts_with("unix://")) {
    address.socket = rest.substr(std::string_view("unix://").size());
    if (!address.socket.starts_with('/')) refuse_url("has no path");
    return address;
  }
  if (!rest.starts_with("redis://")) refuse_url("does not begin with redis://");
  rest.remove_prefix(std::string_view("redis://").size());
  const auto [login, place] = split_front(rest, rest.rfind('@'));
  if (login) {
    const auto [user, password] = split_front(*login, login->find(':'));
    if (!user) refuse_url("has a name but no password");
    address.user = percent_decoded(*user);
    address.password = percent_decoded(password);
  }
  std::string_view host = place.substr(0, place.find('/'));
  const std::string_view database = place.substr(std::min(place.size(), host.size() + 1));
  if (!database.empty()) address.database = number(database, kMaxDatabase, "database");
  const std::size_t colon = host.rfind(':');
  const bool has_port = colon != std::string_view::npos && host.find(']', colon) == host.npos;
  if (has_port) {
    address.port = number(host.substr(colon + 1), kMaxPort, "port");
    host = host.substr(0, colon);
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty()) refuse_url("has no host");
  address.host = host;
  return address;
}

void RedisConnection::Close::operator()(redisContext* context) const { redisFree(context); }

RedisConnection::RedisConnection(const RedisAddress& address, std::chrono::milliseconds timeout)
    : where_(address.socket.empty() ? address.host + ":" + std::to_string(address.port)
                                    : address.socket) {
  const timeval connect_timeout = limited(timeout, kConnectTimeout);
  context_.reset(address.socket.empty()
                     ? redisConnectWithTimeout(address.host.c_str(), address.port, connect_timeout)
                     : redisConnectUnixWithTimeout(address.socket.c_str(), connect_timeout));
  if (context_ == nullptr || context_->err != 0) {
    throw RedisUnavailable("Redis at " + where_ + " cannot be reached: " +
                           (context_ == nullptr ? "out of memory" : context_->errstr));
  }
  set_timeout(timeout);
  if (address.socket.empty()) redisEnableKeepAlive(context_.get());
  if (!address.user.empty()) {
    command({"AUTH", address.user, address.password});
  } else if (!address.password.empty()) {
    command({"AUTH", address.password});
  }
  if (address.database != 0) command({"SELECT", std::to_string(address.database)});
}

RedisConnection::~RedisConnection() = default;

void RedisConnection::set_timeout(std::chrono::milliseconds timeout) {
  redisSetTimeout(context_.get(), limited(timeout, kRedisTimeout));
}

RedisReply RedisConnection::command(const std::vector<std::string_view>& words) {
  std::vector<const char*> starts;
  std::vector<std::size_t> sizes;
  for (const std::string_view word : words) {
    starts.push_back(word.data() == nullptr ? "" : word.data());
    sizes.push_back(word.size());
  }
  const std::unique_ptr<redisReply, FreeReply> reply(static_cast<redisReply*>(redisCommandArgv(
      context_.get(), static_cast<int>(words.size()), starts.data(), sizes.data())));
  if (reply == nullptr) throw lost();
  if (reply->type != REDIS_REPLY_ERROR) return value_of(*reply);
  const std::string message(reply->str, reply->len);
  if (is_temporary(message)) throw RedisUnavailable("Redis at " + where_ + ": " + message);
  if (is_refusal(message)) {
    throw StoreRefused("Redis at " + where_ + " does not let us in: " + message);
  }
  if (message.starts_with("NOSCRIPT")) throw RedisNoScript("Redis at " + where_ + ": " + message);
  throw Error(ErrorKind::device, "Redis at " + where_ + ": " + message);
}

std::optional<RedisReply> RedisConnection::next_message(int interrupt) {
  while (true) {
    void* read = nullptr;
    if (redisGetReplyFromReader(context_.get(), &read) != REDIS_OK) throw lost();
    if (read != nullptr) {
      const std::unique_ptr<redisReply, FreeReply> reply(static_cast<redisReply*>(read));
      return value_of(*reply);
    }
    pollfd waited[] = {{interrupt, POLLIN, 0}, {context_->fd, POLLIN, 0}};
    if (::poll(waited, std::size(waited), -1) < 0 && errno != EINTR) throw lost();
    if (waited[0].revents != 0) return std::nullopt;
    if (waited[1].revents != 0 && redisBufferRead(context_.get()) != REDIS_OK) throw lost();
  }
}

RedisUnavailable RedisConnection::lost() const {
  return RedisUnavailable("Redis at " + where_ + " does not answer: " + context_->errstr);
}

}  // namespace ernie_image
