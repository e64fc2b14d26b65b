#include "core/log.h"

#include <mutex>
#include <utility>

namespace ernie_image {
namespace {

struct Sink {
  std::mutex mutex;
  LogSink tell;
};

/// Never destroyed: threads may have something to say while the process ends.
Sink& sink() {
  static Sink& instance = *new Sink;
  return instance;
}

}  // namespace

void set_log_sink(LogSink next) {
  const std::lock_guard lock(sink().mutex);
  std::swap(sink().tell, next);
}

void log_message(LogLevel level, const std::string& message) noexcept {
  try {
    const std::lock_guard lock(sink().mutex);
    if (sink().tell) sink().tell(level, message);
  } catch (...) {
    // Out of memory, say: no message is worth more than the work.
  }
}

}  // namespace ernie_image
