// The order in which waiting jobs are taken: by priority, then by turns between owners, then by
// age.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>

#include "jobs/job.h"

namespace ernie_image {

class FairQueue {
 public:
  struct Entry {
    std::string id;
    std::string batch;  ///< jobs with equal ones can be run together
  };

  void push_back(JobPriority priority, const std::string& owner, Entry entry);
  /// First of its priority: for a job that had begun already.
  void push_front(JobPriority priority, const std::string& owner, Entry entry);

  /// Nothing if empty.
  const Entry* next() const;
  /// Takes `next` out. The owner's next job comes after one of each other owner's.
  void pop();
  /// False if it is not there.
  bool remove(const std::string& id);

  /// How many jobs would be taken before this one.
  std::optional<int> position(const std::string& id) const;
  int size() const { return static_cast<int>(places_.size()); }

 private:
  struct Waiting {
    Entry entry;
    std::int64_t number;  // grows from one to the next
  };
  struct Turn {
    std::string owner;
    std::deque<Waiting> jobs;  // never empty
  };
  using Turns = std::list<Turn>;  // whose turn it is stands first
  struct Lane {
    Turns turns;
    std::unordered_map<std::string, Turns::iterator> by_owner;
  };
  struct Place {
    JobPriority priority;
    std::string owner;
    std::int64_t number;
  };

  static std::ptrdiff_t round_of(const Turn& turn, const Place& place);

  std::map<JobPriority, Lane, std::greater<>> lanes_;
  std::unordered_map<std::string, Place> places_;
};

}  // namespace ernie_image
