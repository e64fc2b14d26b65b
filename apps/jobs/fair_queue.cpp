#include "jobs/fair_queue.h"

#include <algorithm>
#include <cassert>

namespace ernie_image {

FairQueue::Lane::iterator FairQueue::find_turn(Lane& lane, const std::string& owner) {
  return std::ranges::find(lane, owner, &Turn::owner);
}

void FairQueue::push_back(JobPriority priority, const std::string& owner, Entry entry) {
  Lane& lane = lanes_[priority];
  places_[entry.id] = {priority, owner};
  auto turn = find_turn(lane, owner);
  if (turn == lane.end()) turn = lane.insert(lane.end(), {owner, {}});
  turn->jobs.push_back(std::move(entry));
}

void FairQueue::push_front(JobPriority priority, const std::string& owner, Entry entry) {
  Lane& lane = lanes_[priority];
  places_[entry.id] = {priority, owner};
  auto turn = find_turn(lane, owner);
  if (turn == lane.end()) {
    turn = lane.insert(lane.begin(), {owner, {}});
  } else {
    lane.splice(lane.begin(), lane, turn);
  }
  turn->jobs.push_front(std::move(entry));
}

const FairQueue::Entry* FairQueue::next() const {
  for (const auto& [priority, lane] : lanes_) {
    if (!lane.empty()) return &lane.front().jobs.front();
  }
  return nullptr;
}

void FairQueue::pop() {
  const auto found =
      std::ranges::find_if(lanes_, [](const auto& lane) { return !lane.second.empty(); });
  assert(found != lanes_.end());
  Lane& lane = found->second;
  Turn& turn = lane.front();
  places_.erase(turn.jobs.front().id);
  turn.jobs.pop_front();
  if (turn.jobs.empty()) {
    lane.pop_front();
  } else {
    lane.splice(lane.end(), lane, lane.begin());
  }
}

bool FairQueue::remove(const std::string& id) {
  const auto place = places_.find(id);
  if (place == places_.end()) return false;
  Lane& lane = lanes_.at(place->second.priority);
  const auto turn = find_turn(lane, place->second.owner);
  std::erase_if(turn->jobs, [&id](const Entry& entry) { return entry.id == id; });
  if (turn->jobs.empty()) lane.erase(turn);
  places_.erase(place);
  return true;
}

std::optional<int> FairQueue::position(const std::string& id) const {
  const auto place = places_.find(id);
  if (place == places_.end()) return std::nullopt;
  std::ptrdiff_t before = 0;
  for (const auto& [priority, lane] : lanes_) {
    if (priority == place->second.priority) break;
    for (const Turn& turn : lane) before += std::ssize(turn.jobs);
  }
  const Lane& lane = lanes_.at(place->second.priority);
  const auto own = std::ranges::find(lane, place->second.owner, &Turn::owner);
  // The k-th job of an owner is taken in the k-th round of turns.
  const auto round = std::ranges::find(own->jobs, id, &Entry::id) - own->jobs.begin();
  bool is_earlier = true;
  for (const Turn& turn : lane) {
    if (turn.owner == own->owner) is_earlier = false;
    const std::ptrdiff_t taken = round + (is_earlier ? 1 : 0);
    before += std::min(std::ssize(turn.jobs), taken);
  }
  return static_cast<int>(before);
}

}  // namespace ernie_image
