// Threads whose beginning may fail: limits of the user, of a control group or of memory.
#pragma once

#include <future>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "ernie_image/error.h"

namespace ernie_image {

namespace detail {

template <class Make>
auto made(Make make) {
  try {
    return make();
  } catch (const std::system_error& error) {
    throw Error(ErrorKind::out_of_memory,
                std::string("cannot start a thread: ") + error.what() +
                    "; the limit is the user's (ulimit -u) or that of a control group (pids.max)");
  }
}

}  // namespace detail

/// Throws Error(out_of_memory). What `body` throws ends the process: it must not.
template <class Body>
std::thread start_thread(Body body) {
  return detail::made([&] { return std::thread(std::move(body)); });
}

/// On a thread of its own; what `body` throws, `get()` throws. Throws Error(out_of_memory).
template <class Body>
std::future<void> start_task(Body body) {
  return detail::made([&] { return std::async(std::launch::async, std::move(body)); });
}

}  // namespace ernie_image
