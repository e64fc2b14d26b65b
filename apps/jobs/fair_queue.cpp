#include "jobs/fair_queue.h"

#include <algorithm>
#include <cassert>

namespace ernie_image {

/// How many of the owner's jobs are taken before this one.
std::ptrdiff_t FairQueue::round_of(const Turn& turn, const Place& place) {
  return std::ranges::lower_bound(turn.jobs, place.number, {}, &Waiting::number) -
         turn.jobs.begin();
}

void FairQueue::push_back(JobPriority priority, const std::string& owner, Entry entry) {
  Lane& lane = lanes_[priority];
  const auto known = lane.by_owner.find(owner);
  if (known == lane.by_owner.end()) {
    lane.by_owner[owner] = lane.turns.insert(lane.turns.end(), {owner, {}});
  }
  std::deque<Waiting>& jobs = lane.by_owner.at(owner)->jobs;
  const std::int64_t number = jobs.empty() ? 0 : jobs.back().number + 1;
  places_[entry.id] = {priority, owner, number};
  jobs.push_back({std::move(entry), number});
}

void FairQueue::push_front(JobPriority priority, const std::string& owner, Entry entry) {
  Lane& lane = lanes_[priority];
  const auto known = lane.by_owner.find(owner);
  if (known == lane.by_owner.end()) {
    lane.by_owner[owner] = lane.turns.insert(lane.turns.begin(), {owner, {}});
  } else {
    lane.turns.splice(lane.turns.begin(), lane.turns, known->second);
  }
  std::deque<Waiting>& jobs = lane.by_owner.at(owner)->jobs;
  const std::int64_t number = jobs.empty() ? 0 : jobs.front().number - 1;
  places_[entry.id] = {priority, owner, number};
  jobs.push_front({std::move(entry), number});
}

const FairQueue::Entry* FairQueue::next() const {
  for (const auto& [priority, lane] : lanes_) {
    if (!lane.turns.empty()) return &lane.turns.front().jobs.front().entry;
  }
  return nullptr;
}

void FairQueue::pop() {
  const auto found =
      std::ranges::find_if(lanes_, [](const auto& lane) { return !lane.second.turns.empty(); });
  assert(found != lanes_.end());
  Lane& lane = found->second;
  Turn& turn = lane.turns.front();
  places_.erase(turn.jobs.front().entry.id);
  turn.jobs.pop_front();
  if (turn.jobs.empty()) {
    lane.by_owner.erase(turn.owner);
    lane.turns.pop_front();
  } else {
    lane.turns.splice(lane.turns.end(), lane.turns, lane.turns.begin());
  }
}

bool FairQueue::remove(const std::string& id) {
  const auto place = places_.find(id);
  if (place == places_.end()) return false;
  Lane& lane = lanes_.at(place->second.priority);
  const auto turn = lane.by_owner.at(place->second.owner);
  turn->jobs.erase(turn->jobs.begin() + round_of(*turn, place->second));
  if (turn->jobs.empty()) {
    lane.by_owner.erase(turn->owner);
    lane.turns.erase(turn);
  }
  places_.erase(place);
  return true;
}

std::optional<int> FairQueue::position(const std::string& id) const {
  const auto place = places_.find(id);
  if (place == places_.end()) return std::nullopt;
  std::ptrdiff_t before = 0;
  for (const auto& [priority, lane] : lanes_) {
    if (priority == place->second.priority) break;
    for (const Turn& turn : lane.turns) before += std::ssize(turn.jobs);
  }
  const Lane& lane = lanes_.at(place->second.priority);
  const Turns::iterator own = lane.by_owner.at(place->second.owner);
  // The k-th job of an owner is taken in the k-th round of turns.
  const std::ptrdiff_t round = round_of(*own, place->second);
  bool is_earlier = true;
  for (const Turn& turn : lane.turns) {
    if (turn.owner == own->owner) is_earlier = false;
    const std::ptrdiff_t taken = round + (is_earlier ? 1 : 0);
    before += std::min(std::ssize(turn.jobs), taken);
  }
  return static_cast<int>(before);
}

}  // namespace ernie_image
