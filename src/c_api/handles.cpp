#include "c_api/handles.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace ernie_image::c_api {
namespace {

struct Entry {
  std::shared_ptr<Object> object;
  pid_t process;
};

struct Registry {
  std::mutex mutex;
  std::unordered_map<std::uintptr_t, Entry> entries;
  std::uintptr_t next = 0;
};

Registry& registry();

// A child that is forked while another thread holds the lock would wait for it for ever.
void lock_before_fork() { registry().mutex.lock(); }
void unlock_after_fork() { registry().mutex.unlock(); }

/// Never destroyed: threads may still be at work when the program ends.
Registry& registry() {
  static Registry* const instance = [] {
    auto* const made = new Registry;
    pthread_atfork(lock_before_fork, unlock_after_fork, unlock_after_fork);
    return made;
  }();
  return *instance;
}

constexpr std::uintptr_t kStep = 16;  // handles are aligned as pointers are

}  // namespace

void* register_object(std::shared_ptr<Object> object) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.next += kStep;
  all.entries.emplace(all.next, Entry{std::move(object), getpid()});
  return reinterpret_cast<void*>(all.next);
}

std::shared_ptr<Object> find_object(const void* handle) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto found = all.entries.find(reinterpret_cast<std::uintptr_t>(handle));
  if (found == all.entries.end()) return nullptr;
  if (found->second.object->needs_its_process() && found->second.process != getpid()) {
    throw Error(ErrorKind::unsupported,
                "this was loaded before the process was forked, and its threads stayed with the "
                "parent; load it in the child");
  }
  return found->second.object;
}

void close_object(const void* handle) noexcept {
  Registry& all = registry();
  Entry closed;
  {
    const std::lock_guard lock(all.mutex);
    const auto found = all.entries.find(reinterpret_cast<std::uintptr_t>(handle));
    if (found == all.entries.end()) return;
    closed = std::move(found->second);
    all.entries.erase(found);
  }
  if (closed.object->needs_its_process() && closed.process != getpid()) {
    // To wait for threads that are not here would take for ever.
    static_cast<void>(new (std::nothrow) std::shared_ptr<Object>(std::move(closed.object)));
    return;
  }
  closed.object->close();
}

}  // namespace ernie_image::c_api
