// Which queued work is ordered after which, by queues, events, and the host's waiting. Of two tasks
// that touch the same memory, one writing, with no order between them, a card may run either first;
// the stand-in tells, whether or not it went well this time.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "machine.h"

namespace standin {

/// How many tasks of each queue are known to have run.
using Clock = std::map<int, std::uint64_t>;

class Order {
 public:
  int add_queue();
  /// Its tasks have run.
  void remove_queue(int queue);

  /// Gives the name of an earlier task that must not run at the same time, or "".
  std::string add_task(int queue, const std::string& name, const std::vector<Range>& uses);

  /// After all tasks that the queue has now.
  Clock now(int queue) const;
  /// The queue's further tasks are after `clock`.
  void wait(int queue, const Clock& clock);
  /// So is everything else: the host has waited.
  void host_waits(const Clock& clock);

  /// The name of a task that uses the range and that the host has not waited for, or "".
  std::string user_of(const Range& range, bool readers_count) const;

 private:
  struct Task {
    std::uint64_t number;
    std::string name;
    std::vector<Range> uses;
  };
  struct Queue {
    std::uint64_t tasks = 0;
    Clock after;
    std::deque<Task> open;  // that the host has not waited for
  };

  std::uint64_t known(const Queue& queue, int other) const;

  std::map<int, Queue> queues_;
  Clock host_;
  int next_ = 1;
};

}  // namespace standin
