#include "jobs/fair_queue.h"

#include <gtest/gtest.h>

#include <random>

namespace ernie_image {
namespace {

std::string take(FairQueue& queue) {
  const std::string id = queue.next()->id;
  queue.pop();
  return id;
}

TEST(FairQueue, TakesTurnsBetweenOwners) {
  FairQueue queue;
  for (const char* id : {"a1", "a2", "a3"}) queue.push_back(JobPriority::normal, "a", {id, ""});
  queue.push_back(JobPriority::normal, "b", {"b1", ""});
  queue.push_back(JobPriority::normal, "c", {"c1", ""});
  queue.push_back(JobPriority::normal, "b", {"b2", ""});
  for (const char* id : {"a1", "b1", "c1", "a2", "b2", "a3"}) EXPECT_EQ(take(queue), id);
  EXPECT_EQ(queue.next(), nullptr);
  EXPECT_EQ(queue.size(), 0);
}

TEST(FairQueue, APutBackJobIsNext) {
  FairQueue queue;
  queue.push_back(JobPriority::normal, "a", {"a1", ""});
  queue.push_back(JobPriority::normal, "b", {"b1", ""});
  queue.push_back(JobPriority::normal, "b", {"b2", ""});
  queue.push_front(JobPriority::normal, "b", {"b0", ""});
  for (const char* id : {"b0", "a1", "b1", "b2"}) EXPECT_EQ(take(queue), id);
}

TEST(FairQueue, RemovesAnyJob) {
  FairQueue queue;
  queue.push_back(JobPriority::low, "a", {"a1", ""});
  queue.push_back(JobPriority::low, "a", {"a2", ""});
  EXPECT_TRUE(queue.remove("a1"));
  EXPECT_FALSE(queue.remove("a1"));
  EXPECT_FALSE(queue.position("a1"));
  EXPECT_EQ(take(queue), "a2");
}

/// The position is computed, the order is played: they must be one.
TEST(FairQueue, PositionsAreTheOrder) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    FairQueue queue;
    std::vector<std::string> ids;
    const int jobs = static_cast<int>(random() % 20);
    for (int i = 0; i < jobs; ++i) {
      ids.push_back(std::to_string(i));
      const auto priority = static_cast<JobPriority>(random() % 3);
      const std::string owner(1, static_cast<char>('a' + random() % 4));
      if (random() % 4 == 0) {
        queue.push_front(priority, owner, {ids.back(), ""});
      } else {
        queue.push_back(priority, owner, {ids.back(), ""});
      }
      if (random() % 5 == 0) take(queue);
    }
    std::map<std::string, int> expected;
    for (const std::string& id : ids) {
      if (const auto position = queue.position(id)) expected[id] = *position;
    }
    ASSERT_EQ(static_cast<int>(expected.size()), queue.size());
    for (int i = 0; queue.size() > 0; ++i) ASSERT_EQ(expected.at(take(queue)), i);
  }
}

}  // namespace
}  // namespace ernie_image
