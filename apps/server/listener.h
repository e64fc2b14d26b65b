// Connections that nobody works for: accepted, silent between two requests, sending a head, or
// about to be closed. One thread holds them all, so that a client that is slow or silent costs a
// socket and what it has sent, and no thread; requests whose head is there are given to the threads
// of a pool.
//
// Places are shared between addresses: where there are none left, the connection with the slowest
// head makes room, of the address that has most of them.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/api_error.h"
#include "server/connection.h"
#include "server/connection_pool.h"
#include "server/rare_log.h"

namespace ernie_image {

enum class AfterRequest { wait_for_next, linger, close };

/// Whoever the requests are for.
class RequestServer {
 public:
  virtual ~RequestServer() = default;
  /// Requests for which no thread is needed, and which are answered even if there is none.
  virtual bool is_answered_at_once(const RequestHead& head) const = 0;
  /// On a thread of the pool, or where the request is answered at once on the listener's. Throws
  /// nothing.
  virtual AfterRequest serve(Connection& connection, const RequestHead& head) = 0;
  /// On the listener's thread; `head` is null where it could not be read.
  virtual void refuse(Connection& connection, const RequestHead* head, const ApiError& error) = 0;
};

struct HttpLimits {
  ConnectionLimits connection;
  std::size_t max_connections = 512;  ///< requests at a time; a few more connections may be silent
};

class Listener {
 public:
  /// Throws Error(io).
  Listener(RequestServer& server, const HttpLimits& limits);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Accepts at `socket` until stop(), then waits for the requests that have begun. Throws
  /// Error(io) if nothing can be accepted there any longer.
  void run(int socket);
  /// From any thread, also before run().
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  enum class Phase { silent, sending, lingering };
  struct Waiting {
    std::unique_ptr<Connection> connection;
    Phase phase = Phase::silent;
    Clock::time_point since;
    std::size_t discarded = 0;
  };
  using Place = std::unordered_map<int, Waiting>::iterator;  ///< by socket
  struct Served;

  void round();
  void accept_all();
  /// False: no more for now.
  bool accept_one();
  void accepting_failed(int error);
  void admit(FileDescriptor socket);
  /// Closes the waiting connection that is the least worth keeping, if there is one.
  void make_room();

  void hold(std::unique_ptr<Connection> connection, Phase phase);
  std::unique_ptr<Connection> take(Place place);
  void on_ready(int socket);
  void read_on(Place place);
  void close_overdue();
  void go_on(std::unique_ptr<Connection> connection, AfterRequest after);
  void refuse(std::unique_ptr<Connection> connection, const RequestHead* head,
              const ApiError& error);

  void begin_request(std::unique_ptr<Connection> connection);
  void serve_on_thread(std::unique_ptr<Connection> connection, RequestHead head);
  bool may_be_served(const Connection& connection);
  bool end_a_blocked_one(const Connection& newcomer);
  void end_request(std::list<Served>::iterator served, AfterRequest after);
  void take_returned();

  RequestServer& server_;
  const HttpLimits limits_;
  const std::size_t max_served_;  ///< with what is kept for addresses that have little
  const std::size_t max_held_;
  FileDescriptor epoll_;
  FileDescriptor wake_;
  int socket_ = -1;
  std::atomic<bool> stopping_ = false;
  bool accepts_ = false;
  Clock::time_point accepts_again_;
  RareLog trouble_;
  std::unordered_map<int, Waiting> waiting_;
  std::vector<int> ready_;  ///< sockets of which more has come than was used
  Clock::time_point next_check_;

  std::mutex mutex_;
  std::list<Served> served_;
  std::list<Served> returned_;
  ConnectionPool pool_;  ///< last: its threads use the others
};

}  // namespace ernie_image
