// Queues that run later on threads of their own, events, and queued copies.
#include <chrono>
#include <cstring>
#include <random>

#include "machine_state.h"

namespace standin {
namespace {

struct Event {
  std::uint64_t recorded = 0;
  std::uint64_t passed = 0;
  bool timed = false;
  std::uint64_t passed_at = 0;  // by the clock of the queue
  Clock clock;
};
using SharedEvent = std::shared_ptr<Event>;  // queued work may outlive the handle

std::uint64_t hash_of(const std::byte* data, std::size_t bytes) {
  std::uint64_t hash = 1469598103934665603u;
  for (std::size_t i = 0; i < bytes; ++i)
    hash = (hash ^ static_cast<std::uint64_t>(data[i])) * 1099511628211u;
  return hash;
}

/// Takes tasks in order, now and then after a pause: nothing may rely on work being done soon.
void run_stream(Stream& stream) {
  std::minstd_rand random(static_cast<unsigned>(stream.id));
  std::unique_lock lock(machine().mutex);
  while (true) {
    machine().changed.wait(
        lock, [&] { return stream.stop || (!stream.tasks.empty() && !machine().held); });
    if (stream.tasks.empty()) return;
    const std::function<void()> work = stream.tasks.front().second;
    lock.unlock();
    if (random() % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
    work();
    lock.lock();
    stream.tasks.pop_front();
    ++machine().operations_run;
    machine().changed.notify_all();
  }
}

Stream* find_stream(aclrtStream handle) {
  for (const auto& stream : machine().streams) {
    if (stream.get() == handle) return stream.get();
  }
  return nullptr;
}

int drain(aclrtStream handle) {
  std::unique_lock lock(machine().mutex);
  Stream* const stream = find_stream(handle);
  if (stream == nullptr) return fail(kInvalidParameter, "no such stream");
  if (stream->device != current_device())
    return fail(kNoContext, "the stream that is waited for belongs to another device");
  const Clock clock = machine().order.now(stream->id);
  machine().changed.wait(lock, [&] { return stream->tasks.empty(); });
  machine().order.host_waits(clock);
  if (machine().violations.empty()) return 0;
  return fail(kKernelFault, machine().violations.front());
}

SharedEvent& event_of(aclrtEvent handle) { return *static_cast<SharedEvent*>(handle); }

}  // namespace

int enqueue(aclrtStream handle, const std::string& name, std::vector<Range> uses,
            std::function<void()> work, std::uint64_t kernels) {
  const std::lock_guard lock(machine().mutex);
  Stream* const stream = find_stream(handle);
  if (stream == nullptr) return fail(kInvalidParameter, name + ": no such stream");
  if (stream->device != current_device())
    return fail(kNoContext, name + ": the stream belongs to another device");
  const std::string other = machine().order.add_task(stream->id, name, uses);
  if (!other.empty()) {
    report_violation(name + " uses memory of a " + other +
                     " in another queue, and no event orders them");
    work = [] {};  // run, it would be a data race of this program
  }
  stream->tasks.emplace_back(name, std::move(work));
  stream->nanoseconds += kernels * kNanosecondsOfAKernel;
  machine().changed.notify_all();
  return 0;
}

}  // namespace standin

using namespace standin;

extern "C" {

aclError aclrtCreateStream(aclrtStream* stream) {
  if (const int status = enter("aclrtCreateStream")) return status;
  const std::lock_guard lock(machine().mutex);
  auto made = std::make_unique<Stream>();
  made->device = current_device();
  made->id = machine().order.add_queue();
  Stream& reference = *made;
  made->worker = std::thread([&reference] { run_stream(reference); });
  *stream = made.get();
  machine().streams.push_back(std::move(made));
  return 0;
}

aclError aclrtDestroyStream(aclrtStream handle) {
  if (const int status = require_initialized("aclrtDestroyStream")) return status;
  std::unique_lock lock(machine().mutex);
  Stream* const stream = find_stream(handle);
  if (stream == nullptr) return fail(kInvalidParameter, "no such stream");
  if (!stream->tasks.empty())
    report_violation("a stream was destroyed before its " + stream->tasks.back().first + " ran");
  stream->stop = true;
  machine().changed.notify_all();
  std::thread worker = std::move(stream->worker);
  lock.unlock();
  worker.join();
  lock.lock();
  machine().order.remove_queue(stream->id);
  std::erase_if(machine().streams, [&](const auto& known) { return known.get() == stream; });
  return 0;
}

aclError aclrtSynchronizeStream(aclrtStream stream) {
  if (const int status = enter("aclrtSynchronizeStream")) return status;
  return drain(stream);
}

aclError aclrtCreateEventExWithFlag(aclrtEvent* event, std::uint32_t flag) {
  if (const int status = enter("aclrtCreateEventExWithFlag")) return status;
  if ((flag & ~(kAclEventSync | kAclEventTimeLine)) != 0 || (flag & kAclEventSync) == 0)
    return fail(kInvalidParameter, "aclrtCreateEventExWithFlag: these flags are not known");
  *event = new SharedEvent(std::make_shared<Event>());
  event_of(*event)->timed = (flag & kAclEventTimeLine) != 0;
  count_object("event", 1);
  return 0;
}

aclError aclrtDestroyEvent(aclrtEvent event) {
  if (const int status = require_initialized("aclrtDestroyEvent")) return status;
  delete static_cast<SharedEvent*>(event);
  count_object("event", -1);
  return 0;
}

aclError aclrtRecordEvent(aclrtEvent handle, aclrtStream stream) {
  if (const int status = enter("aclrtRecordEvent")) return status;
  const SharedEvent event = event_of(handle);
  std::uint64_t mark = 0, at = 0;
  {
    const std::lock_guard lock(machine().mutex);
    mark = ++event->recorded;
    if (Stream* known = find_stream(stream)) {
      event->clock = machine().order.now(known->id);
      at = ++known->nanoseconds;
    }
  }
  return enqueue(stream, "aclrtRecordEvent", {}, [event, mark, at] {
    const std::lock_guard lock(machine().mutex);
    event->passed = mark;
    event->passed_at = at;
    machine().changed.notify_all();
  });
}

aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent handle) {
  if (const int status = enter("aclrtStreamWaitEvent")) return status;
  const SharedEvent event = event_of(handle);
  std::uint64_t mark = 0;
  {
    const std::lock_guard lock(machine().mutex);
    mark = event->recorded;
    if (const Stream* known = find_stream(stream)) machine().order.wait(known->id, event->clock);
  }
  return enqueue(stream, "aclrtStreamWaitEvent", {}, [event, mark] {
    std::unique_lock lock(machine().mutex);
    machine().changed.wait(lock, [&] { return event->passed >= mark; });
  });
}

aclError aclrtSynchronizeEvent(aclrtEvent handle) {
  if (const int status = enter("aclrtSynchronizeEvent")) return status;
  const SharedEvent event = event_of(handle);
  std::unique_lock lock(machine().mutex);
  const std::uint64_t mark = event->recorded;
  const Clock clock = event->clock;
  machine().changed.wait(lock, [&] { return event->passed >= mark; });
  machine().order.host_waits(clock);
  return 0;
}

aclError aclrtEventElapsedTime(float* milliseconds, aclrtEvent begin, aclrtEvent end) {
  if (const int status = enter("aclrtEventElapsedTime")) return status;
  const SharedEvent first = event_of(begin), last = event_of(end);
  const std::lock_guard lock(machine().mutex);
  for (const SharedEvent& event : {first, last}) {
    if (event->recorded == 0 || event->passed < event->recorded)
      return fail(kInvalidParameter, "aclrtEventElapsedTime of an event that has not passed");
    if (!event->timed)
      return fail(kInvalidParameter, "aclrtEventElapsedTime of an event that knows no time");
  }
  *milliseconds = static_cast<float>(last->passed_at - first->passed_at) * 1e-6f;
  return 0;
}

aclError aclrtMemcpyAsync(void* target, std::size_t room, const void* source, std::size_t bytes,
                          aclrtMemcpyKind kind, aclrtStream stream) {
  if (const int status = enter("aclrtMemcpyAsync")) return status;
  if (const int status = check_copy(target, room, source, bytes, kind)) return status;
  const bool from_host = !is_device_address(source);
  const void* const host = from_host ? source : target;
  const bool deferred = is_device_address(host) || is_pinned(host, bytes);
  const std::uint64_t hash = from_host && !is_idle() ? hash_of(real_of(source), bytes) : 0;
  const int status = enqueue(
      stream, "copy", {{address_of(target), bytes, true}, {address_of(source), bytes}}, [=] {
        if (is_idle()) {
          if (!from_host) std::memset(real_of(target), 0, bytes);
          return;
        }
        if (from_host && hash_of(real_of(source), bytes) != hash)
          violation("a pinned buffer was changed before its queued copy ran");
        std::memcpy(real_of(target), real_of(source), bytes);
      });
  // With ordinary host memory the call comes back when the copy is done.
  return status != 0 || deferred ? status : drain(stream);
}

}  // extern "C"
