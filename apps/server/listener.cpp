#include "server/listener.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>
#include <tuple>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "common/spare_memory.h"

namespace ernie_image {
namespace {

constexpr int kAcceptedInARow = 64;  // before others get their turn
constexpr std::chrono::milliseconds kAcceptPause{20};
constexpr std::chrono::milliseconds kTick{100};  // how late a connection may be closed
constexpr std::chrono::milliseconds kLinger{1000};
constexpr std::size_t kLingerBytes = 1 << 20;
constexpr std::chrono::seconds kBlockedLong{1};
constexpr int kUnsentBytes = 128 << 10;  // that the system holds for a client that does not read

/// Nothing can be accepted at that socket any longer, whatever is done.
struct ListeningEnded : Error {
  explicit ListeningEnded(int number)
      : Error(ErrorKind::io,
              std::string("no connection can be accepted any longer: ") + std::strerror(number)) {}
};

bool is_about_the_socket(int error) {
  return error == EBADF || error == EINVAL || error == ENOTSOCK || error == EOPNOTSUPP ||
         error == EFAULT;
}

bool is_want_of_room(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

FileDescriptor required(int descriptor, const char* what) {
  if (descriptor >= 0) return FileDescriptor(descriptor);
  throw Error(ErrorKind::io, std::string("cannot make ") + what + ": " + std::strerror(errno));
}

ApiError overloaded() {
  ApiError error(503, "the server has as many requests as it can serve", "", "overloaded");
  error.retry_after_seconds = 1;
  return error;
}

/// By whom connections are held, and how many.
class Shares {
 public:
  void add(const Connection& connection) { ++counts_[connection.client_group()]; }
  int of(const Connection& connection) const {
    const auto found = counts_.find(connection.client_group());
    return found == counts_.end() ? 0 : found->second;
  }

 private:
  std::map<std::string_view, int> counts_;
};

}  // namespace

struct Listener::Served {
  std::unique_ptr<Connection> connection;
  RequestHead head;
  AfterRequest after = AfterRequest::close;
  bool is_ended = false;  ///< to make room for another
};

Listener::Listener(RequestServer& server, const HttpLimits& limits)
    : server_(server),
      limits_(limits),
      max_served_(limits.max_connections + std::max<std::size_t>(1, limits.max_connections / 8)),
      max_held_(max_served_ + 16 + limits.max_connections / 8),
      epoll_(required(::epoll_create1(EPOLL_CLOEXEC), "an epoll instance")),
      wake_(required(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "an eventfd")),
      pool_(max_served_) {
  epoll_event event = {EPOLLIN, {}};
  event.data.fd = wake_.get();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) {
    throw Error(ErrorKind::io, std::string("cannot watch an eventfd: ") + std::strerror(errno));
  }
}

Listener::~Listener() = default;

void Listener::stop() {
  stopping_ = true;
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void Listener::run(int socket) {
  socket_ = socket;
  ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK);
  while (!stopping_) {
    try {
      round();
    } catch (const std::bad_alloc&) {
      make_room();
    } catch (const ListeningEnded&) {
      waiting_.clear();
      pool_.shutdown();
      throw;
    } catch (const std::exception& error) {
      trouble_.warn("a connection was lost", error.what());
    }
  }
  waiting_.clear();
  pool_.shutdown();
}

void Listener::round() {
  if (!accepts_ && Clock::now() >= accepts_again_) {
    epoll_event event = {EPOLLIN, {}};
    event.data.fd = socket_;
    accepts_ = ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket_, &event) == 0;
    if (!accepts_ && is_about_the_socket(errno)) throw ListeningEnded(errno);
  }
  std::array<epoll_event, 64> events;
  int timeout = static_cast<int>((accepts_ ? kTick : kAcceptPause).count());
  if (accepts_ && waiting_.empty()) timeout = -1;
  if (!ready_.empty()) timeout = 0;
  const int count = ::epoll_wait(epoll_.get(), events.data(), int(events.size()), timeout);
  if (count < 0 && errno != EINTR) throw ListeningEnded(errno);
  for (int i = 0; i < count && !stopping_; ++i) {
    const int socket = events[static_cast<std::size_t>(i)].data.fd;
    if (socket == socket_) {
      accept_all();
    } else if (socket == wake_.get()) {
      take_returned();
    } else {
      on_ready(socket);
    }
  }
  // Those that have sent the next request already: nothing new will be said of them.
  for (const int socket : std::exchange(ready_, {})) on_ready(socket);
  if (Clock::now() >= next_check_) close_overdue();
}

void Listener::accept_all() {
  for (int i = 0; i < kAcceptedInARow && accept_one(); ++i) {
  }
}

bool Listener::accept_one() {
  FileDescriptor socket(::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC));
  if (socket.valid()) {
    admit(std::move(socket));
    return true;
  }
  if (errno == EINTR) return true;
  if (errno != EAGAIN && errno != EWOULDBLOCK) accepting_failed(errno);
  return false;
}

void Listener::accepting_failed(int error) {
  if (is_about_the_socket(error)) throw ListeningEnded(error);
  // The socket stays ready: without a pause this would be tried as fast as it fails.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket_, nullptr);
  accepts_ = false;
  accepts_again_ = Clock::now() + kAcceptPause;
  if (is_want_of_room(error)) make_room();
  trouble_.warn("a connection could not be accepted", std::strerror(error));
}

void Listener::admit(FileDescriptor socket) {
  const int yes = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kUnsentBytes, sizeof kUnsentBytes);
  auto connection = std::make_unique<Connection>(std::move(socket), limits_.connection);
  std::size_t served;
  {
    const std::lock_guard lock(mutex_);
    served = served_.size();
  }
  if (waiting_.size() + served >= max_held_) make_room();
  hold(std::move(connection), Phase::silent);
}

void Listener::make_room() {
  Shares shares;
  for (const auto& [socket, waiting] : waiting_) shares.add(*waiting.connection);
  const std::unique_lock lock(mutex_);
  for (const Served& served : served_) shares.add(*served.connection);
  const auto worth = [&](const Place::value_type& place) {
    const Waiting& waiting = place.second;
    const int rank = waiting.phase == Phase::sending ? 0 : waiting.phase == Phase::silent ? 1 : 2;
    return std::tuple(-shares.of(*waiting.connection), rank, waiting.since);
  };
  const auto least =
      std::min_element(waiting_.begin(), waiting_.end(),
                       [&](const auto& a, const auto& b) { return worth(a) < worth(b); });
  if (least == waiting_.end()) return;
  const std::string client = least->second.connection->client();
  take(least);
  trouble_.warn("a waiting connection was closed to make room for another", client);
}

void Listener::hold(std::unique_ptr<Connection> connection, Phase phase) {
  const int socket = connection->socket();
  const bool has_next = phase != Phase::lingering && connection->has_begun();
  if (has_next) ready_.push_back(socket);
  epoll_event event = {EPOLLIN, {}};
  event.data.fd = socket;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket, &event) != 0) {
    trouble_.warn("a connection could not be kept", std::strerror(errno));
    return;
  }
  waiting_[socket] = {std::move(connection), phase, Clock::now()};
}

std::unique_ptr<Connection> Listener::take(Place place) {
  std::unique_ptr<Connection> connection = std::move(place->second.connection);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, place->first, nullptr);
  waiting_.erase(place);
  return connection;
}

void Listener::on_ready(int socket) {
  const Place place = waiting_.find(socket);
  if (place == waiting_.end()) return;  // closed by what was done before it in this round
  Waiting& waiting = place->second;
  if (waiting.phase != Phase::lingering) return read_on(place);
  const std::optional<std::size_t> discarded = waiting.connection->discard_available();
  if (discarded) waiting.discarded += *discarded;
  if (!discarded || waiting.discarded > kLingerBytes) take(place);
}

void Listener::read_on(Place place) {
  Waiting& waiting = place->second;
  const bool is_open = waiting.connection->receive_available();
  if (waiting.connection->has_head()) return begin_request(take(place));
  if (!is_open) {
    take(place);
  } else if (waiting.phase == Phase::silent && waiting.connection->has_begun()) {
    waiting.phase = Phase::sending;
    waiting.since = Clock::now();
  }
}

void Listener::close_overdue() {
  const auto now = Clock::now();
  next_check_ = now + kTick;
  std::vector<int> overdue;
  for (const auto& [socket, waiting] : waiting_) {
    const auto patience = waiting.phase == Phase::silent    ? limits_.connection.idle
                          : waiting.phase == Phase::sending ? limits_.connection.patience
                                                            : kLinger;
    if (now - waiting.since >= patience) overdue.push_back(socket);
  }
  for (const int socket : overdue) {
    const Place place = waiting_.find(socket);
    const bool is_sending = place->second.phase == Phase::sending;
    std::unique_ptr<Connection> connection = take(place);
    if (!is_sending) continue;
    refuse(std::move(connection), nullptr, ApiError(408, "the request did not arrive in time"));
  }
}

void Listener::go_on(std::unique_ptr<Connection> connection, AfterRequest after) {
  if (after == AfterRequest::close || stopping_) return;
  const bool lingers = after == AfterRequest::linger;
  if (lingers) connection->end_writing();
  hold(std::move(connection), lingers ? Phase::lingering : Phase::silent);
}

void Listener::refuse(std::unique_ptr<Connection> connection, const RequestHead* head,
                      const ApiError& error) {
  connection->do_not_wait();
  server_.refuse(*connection, head, error);
  go_on(std::move(connection), AfterRequest::linger);
}

void Listener::begin_request(std::unique_ptr<Connection> connection) {
  RequestHead head;
  try {
    head = connection->read_head();
  } catch (const ApiError& error) {
    return refuse(std::move(connection), nullptr, error);
  }
  if (!server_.is_answered_at_once(head)) {
    return serve_on_thread(std::move(connection), std::move(head));
  }
  connection->do_not_wait();
  const AfterRequest after = server_.serve(*connection, head);
  go_on(std::move(connection), after);
}

void Listener::serve_on_thread(std::unique_ptr<Connection> connection, RequestHead head) {
  std::list<Served>::iterator served;
  {
    const std::lock_guard lock(mutex_);
    served_.push_front({std::move(connection), std::move(head)});
    served = served_.begin();
  }
  try {
    if (spare_memory_is_low()) throw std::bad_alloc();
    std::function<void()> task = [this, served] {
      end_request(served, server_.serve(*served->connection, served->head));
    };
    if (may_be_served(*served->connection) && pool_.run(task)) return;
    if (end_a_blocked_one(*served->connection) && pool_.run_soon(task)) return;
  } catch (const std::bad_alloc&) {
    // Memory is short: turned away as if all threads were busy.
  }
  std::list<Served> refused;
  {
    const std::lock_guard lock(mutex_);
    refused.splice(refused.begin(), served_, served);
  }
  refuse(std::move(served->connection), &served->head, overloaded());
}

/// An eighth more than there may be is kept for addresses that have little.
bool Listener::may_be_served(const Connection& connection) {
  const std::lock_guard lock(mutex_);
  if (served_.size() <= limits_.max_connections) return true;
  Shares shares;
  for (const Served& served : served_) shares.add(*served.connection);
  const int small = std::max(1, static_cast<int>(limits_.max_connections / 16));
  return served_.size() <= max_served_ && shares.of(connection) <= small;
}

/// Of those that wait for their clients, the one that has waited longest, of the address that has
/// most; none of an address that has no more than the newcomer's.
bool Listener::end_a_blocked_one(const Connection& newcomer) {
  const std::lock_guard lock(mutex_);
  Shares shares;
  for (const Served& served : served_) shares.add(*served.connection);
  const auto now = Clock::now();
  Served* slowest = nullptr;
  std::pair<int, Clock::duration> most = {shares.of(newcomer), kBlockedLong};
  for (Served& served : served_) {
    const auto since = served.connection->blocked_since();
    if (!since || served.is_ended || now - *since < kBlockedLong) continue;
    const std::pair found = {shares.of(*served.connection), now - *since};
    if (found.first <= shares.of(newcomer) || found <= most) continue;
    most = found;
    slowest = &served;
  }
  if (slowest == nullptr) return false;
  slowest->is_ended = true;
  slowest->connection->abort();
  return true;
}

void Listener::end_request(std::list<Served>::iterator served, AfterRequest after) {
  {
    const std::lock_guard lock(mutex_);
    served->after = after;
    returned_.splice(returned_.end(), served_, served);
  }
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void Listener::take_returned() {
  std::uint64_t times;
  (void)!::read(wake_.get(), &times, sizeof times);
  std::list<Served> returned;
  {
    const std::lock_guard lock(mutex_);
    returned.swap(returned_);
  }
  for (Served& served : returned) go_on(std::move(served.connection), served.after);
}

}  // namespace ernie_image
