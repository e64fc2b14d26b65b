#include "order.h"

#include <algorithm>

namespace standin {
namespace {

void merge(Clock& clock, const Clock& other) {
  for (const auto& [queue, tasks] : other) clock[queue] = std::max(clock[queue], tasks);
}

std::uint64_t value(const Clock& clock, int queue) {
  const auto found = clock.find(queue);
  return found == clock.end() ? 0 : found->second;
}

bool conflict(const std::vector<Range>& a, const std::vector<Range>& b) {
  return std::ranges::any_of(a, [&](const Range& x) {
    return std::ranges::any_of(
        b, [&](const Range& y) { return (x.written || y.written) && overlap(x, y); });
  });
}

}  // namespace

bool overlap(const Range& a, const Range& b) {
  return a.begin < b.begin + b.bytes && b.begin < a.begin + a.bytes;
}

int Order::add_queue() {
  queues_[next_];
  return next_++;
}

void Order::remove_queue(int queue) {
  host_waits(now(queue));
  queues_.erase(queue);
}

std::uint64_t Order::known(const Queue& queue, int other) const {
  return std::max(value(queue.after, other), value(host_, other));
}

std::string Order::add_task(int id, const std::string& name, const std::vector<Range>& uses) {
  Queue& queue = queues_.at(id);
  std::string found;
  for (const auto& [other_id, other] : queues_) {
    if (other_id == id) continue;
    const std::uint64_t done = known(queue, other_id);
    for (auto task = other.open.rbegin(); task != other.open.rend() && task->number > done; ++task)
      if (found.empty() && conflict(task->uses, uses)) found = task->name;
  }
  queue.open.push_back({++queue.tasks, name, uses});
  return found;
}

Clock Order::now(int id) const {
  const Queue& queue = queues_.at(id);
  Clock clock = queue.after;
  clock[id] = queue.tasks;
  return clock;
}

void Order::wait(int queue, const Clock& clock) { merge(queues_.at(queue).after, clock); }

void Order::host_waits(const Clock& clock) {
  merge(host_, clock);
  for (auto& [id, queue] : queues_) {
    while (!queue.open.empty() && queue.open.front().number <= value(host_, id))
      queue.open.pop_front();
  }
}

std::string Order::user_of(const Range& range, bool readers_count) const {
  for (const auto& [id, queue] : queues_) {
    for (const Task& task : queue.open) {
      for (const Range& used : task.uses)
        if ((readers_count || used.written) && overlap(range, used)) return task.name;
    }
  }
  return "";
}

}  // namespace standin
