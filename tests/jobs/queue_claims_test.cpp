// Who works on the jobs of every queue, and when: claims, turns, batches, silence, cancelling.
#include "jobs/queue_test.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "jobs/clock.h"
#include "jobs/wall_clock.h"

namespace ernie_image::test {

TEST_P(QueueTest, ClaimsByPriorityThenByTurns) {
  const std::string a1 = submit("a1"), a2 = submit("a2"), b1 = submit("b1", "bob");
  const std::string low = submit("low", "cat", JobPriority::low);
  const std::string high = submit("high", "cat", JobPriority::high);
  const std::vector<std::string> expected = {high, a1, b1, a2, low};
  for (int i = 0; i < std::ssize(expected); ++i) {
    EXPECT_EQ(queue_->find(expected[static_cast<std::size_t>(i)])->queue_position, i);
  }
  for (const std::string& id : expected) EXPECT_EQ(claim_one().id, id);
  EXPECT_TRUE(claim().empty());
}

TEST_P(QueueTest, LeavesTheJobsOfOtherModels) {
  submit("a");
  WorkerInfo other = worker_named("w2");
  other.model = "another";
  EXPECT_TRUE(queue_->claim(other, 1, kNoTime).empty());
  EXPECT_EQ(claim().size(), 1u);
}

TEST_P(QueueTest, BatchesOnlyWhatFitsTogether) {
  const std::string first = submit("a"), second = submit("b");
  JobRequest larger = small_request("c");
  larger.width_px = 64;
  queue_->submit(larger, "ann");
  submit("d");
  const std::vector<Job> batch = claim(4);
  ASSERT_EQ(batch.size(), 2u);
  EXPECT_EQ(batch[0].id, first);
  EXPECT_EQ(batch[1].id, second);
  EXPECT_EQ(claim(4).size(), 1u);
  EXPECT_EQ(claim(4).size(), 1u);
}

/// By the jobs' own size, whatever the model's is.
TEST_P(QueueTest, ClaimsWhatFitsTogether) {
  const BatchLimit limit(8, 512 * 512, 64 * 64);
  const auto submit_sized = [&](int side, int images) {
    JobRequest request = small_request();
    request.width_px = request.height_px = side;
    request.set_seeds(std::vector<std::uint64_t>(static_cast<std::size_t>(images), 7));
    queue_->submit(request, "ann");
  };
  const auto claimed = [&] { return queue_->claim(worker_named("w1"), limit, kNoTime).size(); };
  for (const int side : {512, 512, 256, 256, 256, 32, 32}) submit_sized(side, 1);
  for (const int images : {2, 1, 2, 4}) submit_sized(256, images);
  for (const std::size_t jobs : {1u, 1u, 3u, 1u, 1u, 2u, 1u, 1u, 0u}) EXPECT_EQ(claimed(), jobs);
}

TEST_P(QueueTest, NoWorkerTakesAnothersShare) {
  WorkerInfo fast = worker_named("fast"), slow = worker_named("slow");
  queue_->announce(fast);
  queue_->announce(slow);
  for (int i = 0; i < 4; ++i) submit("a");
  EXPECT_EQ(queue_->claim(fast, 8, kNoTime).size(), 2u);
  EXPECT_EQ(queue_->claim(slow, 8, kNoTime).size(), 1u);
  EXPECT_EQ(queue_->claim(slow, 8, kNoTime).size(), 1u);
  fast.pixels_per_second = 2e6;
  slow.pixels_per_second = 1e6;
  queue_->announce(fast);
  queue_->announce(slow);
  for (int i = 0; i < 6; ++i) submit("a");
  EXPECT_EQ(queue_->claim(fast, 8, kNoTime).size(), 4u);
  EXPECT_EQ(queue_->claim(slow, 8, kNoTime).size(), 1u);
  WorkerInfo other = worker_named("other");  // whose model it is not
  other.model = "another";
  queue_->announce(other);
  EXPECT_EQ(queue_->claim(slow, 8, kNoTime).size(), 1u);
}

TEST_P(QueueTest, AClaimWaitsForWork) {
  std::thread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    submit("late");
  });
  EXPECT_EQ(prompt_of(claim_one().request), "late");
  late.join();
}

TEST_P(QueueTest, CancelsAWaitingJobAtOnce) {
  const std::string id = submit("a"), other = submit("b");
  EXPECT_TRUE(queue_->cancel(id));
  EXPECT_EQ(queue_->find(id)->state, JobState::cancelled);
  EXPECT_FALSE(queue_->cancel(id));
  EXPECT_EQ(claim_one().id, other);
  EXPECT_TRUE(claim().empty());
}

TEST_P(QueueTest, TellsTheWorkerOfACancelledJob) {
  const std::string id = submit("a");
  claim_one();
  EXPECT_TRUE(queue_->report(id, "w1", kBegun));
  EXPECT_TRUE(queue_->cancel(id));
  EXPECT_EQ(queue_->find(id)->state, JobState::running);
  EXPECT_TRUE(queue_->find(id)->cancel_requested);
  EXPECT_FALSE(queue_->report(id, "w1", kBegun));
  queue_->fail(id, "w1", {"cancelled", "cancelled"});
  EXPECT_EQ(queue_->find(id)->state, JobState::cancelled);
  EXPECT_FALSE(queue_->find(id)->failure);
}

TEST_P(QueueTest, CancelsAClaimedJobThatIsNotBegunAtOnce) {
  const std::string id = submit("a"), other = submit("b");
  ASSERT_EQ(claim(2).size(), 2u);
  EXPECT_TRUE(queue_->report(id, "w1", {}));  // a sign of life
  EXPECT_TRUE(queue_->cancel(id));
  EXPECT_EQ(queue_->find(id)->state, JobState::cancelled);
  EXPECT_FALSE(queue_->report(id, "w1", kBegun));
  queue_->complete(id, "w1", result_of("bytes"));
  EXPECT_EQ(queue_->find(id)->state, JobState::cancelled);
  EXPECT_FALSE(queue_->image(id, 0));
  EXPECT_EQ(queue_->find(other)->state, JobState::running);
  EXPECT_EQ(queue_->counts().running, 1);
}

TEST_P(QueueTest, AResultAfterCancellingIsDropped) {
  const std::string id = submit("a");
  claim_one();
  queue_->report(id, "w1", kBegun);
  queue_->cancel(id);
  queue_->complete(id, "w1", result_of("bytes"));
  EXPECT_EQ(queue_->find(id)->state, JobState::cancelled);
  EXPECT_FALSE(queue_->image(id, 0));
}

TEST_P(QueueTest, AReleasedJobIsNextAndHasLostNoAttempt) {
  const std::string first = submit("a");
  submit("b", "bob");
  for (int i = 0; i < kMaxAttempts + 1; ++i) {
    const Job job = claim_one();
    EXPECT_EQ(job.id, first);
    EXPECT_EQ(job.attempts, 1);
    queue_->release(first, "w1");
    EXPECT_EQ(queue_->find(first)->state, JobState::queued);
    EXPECT_EQ(queue_->find(first)->queue_position, 0);
  }
}

TEST_P(QueueTest, ASilentWorkersJobIsAnothers) {
  QueueOptions options;
  options.claim_expiry = std::chrono::milliseconds(300);
  open(options);
  const std::string id = submit("a");
  claim_one("dead");
  const Job taken_over = claim_one("w2");
  EXPECT_EQ(taken_over.id, id);
  EXPECT_EQ(taken_over.attempts, 2);
  EXPECT_FALSE(queue_->report(id, "dead", {}));
  EXPECT_TRUE(queue_->report(id, "w2", {}));
}

TEST_P(QueueTest, AReportKeepsAClaimAlive) {
  QueueOptions options;
  options.claim_expiry = std::chrono::milliseconds(1000);
  open(options);
  const std::string id = submit("a");
  claim_one("busy");
  for (int i = 0; i < 8; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    ASSERT_TRUE(queue_->report(id, "busy", {}));
    ASSERT_TRUE(claim(1, "w2").empty());
  }
}

TEST_P(QueueTest, AJobThatKillsItsWorkersFails) {
  QueueOptions options;
  options.claim_expiry = std::chrono::milliseconds(100);
  open(options);
  const std::string id = submit_with_picture().id;
  for (int i = 0; i < kMaxAttempts; ++i) EXPECT_EQ(claim_one("w" + std::to_string(i)).id, id);
  EXPECT_TRUE(queue_->claim(worker_named("w9"), 1, std::chrono::milliseconds(400)).empty());
  const Job job = queue_->find(id).value();
  EXPECT_EQ(job.state, JobState::failed);
  EXPECT_EQ(job.failure.value().kind, "worker_lost");
  expect_no_inputs(id);
}

TEST_P(QueueTest, KnowsItsWorkers) {
  WorkerInfo worker = worker_named("w1");
  worker.has_enhancer = true;
  worker.defaults.num_inference_steps = 8;
  worker.seconds_per_step = 0.25;
  queue_->announce(worker);
  worker.current_job = "busy";
  queue_->announce(worker);
  const auto workers = queue_->workers();
  ASSERT_EQ(workers.size(), 1u);
  EXPECT_EQ(workers[0].name, "w1");
  EXPECT_EQ(workers[0].model, "emoji-tiny");
  EXPECT_TRUE(workers[0].has_enhancer);
  EXPECT_EQ(workers[0].defaults.num_inference_steps, 8);
  EXPECT_EQ(workers[0].seconds_per_step, 0.25);
  EXPECT_EQ(workers[0].current_job, "busy");
  EXPECT_GT(workers[0].last_seen_ms, 0);
}

TEST_P(QueueTest, JobsOfAModelThatNobodyHasFail) {
  QueueOptions options;
  options.orphan_timeout = std::chrono::milliseconds(1000);  // far beyond a round below
  open(options);
  const Job orphan = submit_with_picture("gone");
  const std::string served = submit("a");
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!is_final(queue_->find(orphan.id)->state) && std::chrono::steady_clock::now() < deadline) {
    queue_->announce(worker_named("w1"));
    for (const Job& job : queue_->claim(worker_named("w1"), 1, std::chrono::milliseconds(20))) {
      queue_->release(job.id, "w1");
    }
    queue_->wait(orphan.id, orphan.version, std::chrono::milliseconds(10));
  }
  const Job failed = queue_->find(orphan.id).value();
  EXPECT_EQ(failed.state, JobState::failed);
  EXPECT_EQ(failed.failure.value().kind, "no_worker");
  expect_no_inputs(orphan.id);
  EXPECT_EQ(queue_->find(served)->state, JobState::queued);
  EXPECT_EQ(queue_->counts().queued, 1);
}

TEST_P(QueueTest, AWorkerWhoseClockIsWrongIsSeen) {
  for (const int seconds : {-31, -3600, 3600}) {
    {
      const WallClockShift shift{std::chrono::seconds(seconds)};
      queue_->announce(worker_named("w1"));
    }
    EXPECT_EQ(queue_->workers().size(), 1u) << seconds;
    const std::int64_t age_ms = now_ms() - queue_->workers().at(0).last_seen_ms;
    EXPECT_LT(std::abs(age_ms), 30000) << seconds;
  }
}

TEST_P(QueueTest, AWallClockThatJumpsChangesNothing) {
  queue_->announce(worker_named("w1"));
  const std::string id = submit("a");
  claim_one("w1");
  for (const int seconds : {3600, -3600}) {
    const WallClockShift shift{std::chrono::seconds(seconds)};
    EXPECT_EQ(queue_->workers().size(), 1u);
    EXPECT_TRUE(claim(1, "w2").empty());
    EXPECT_TRUE(queue_->report(id, "w1", {}));
  }
  const std::int64_t version = queue_->find(id)->version;
  queue_->complete(id, "w1", result_of("bytes"));
  EXPECT_GT(queue_->find(id)->version, version);
}

TEST_P(QueueTest, ManyWorkersEndEachJobOnce) {
  constexpr int kJobs = 48, kWorkers = 4;
  std::map<std::string, int> ends;
  std::mutex mutex;
  std::atomic<int> left = kJobs;
  std::vector<std::thread> threads;
  for (int w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, name = "w" + std::to_string(w)] {
      while (left > 0) {
        for (const Job& job : queue_->claim(worker_named(name), 3, std::chrono::milliseconds(50))) {
          queue_->report(job.id, name, {});
          queue_->complete(job.id, name, result_of(prompt_of(job.request)));
          const std::lock_guard lock(mutex);
          ++ends[job.id];
          --left;
        }
      }
    });
  }
  std::set<std::string> ids;
  for (int i = 0; i < kJobs; ++i) ids.insert(submit(std::to_string(i), i % 3 == 0 ? "a" : "b"));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ends.size(), ids.size());
  for (const auto& [id, count] : ends) {
    EXPECT_EQ(count, 1);
    EXPECT_EQ(queue_->image(id, 0), prompt_of(queue_->find(id)->request));
  }
}

}  // namespace ernie_image::test
