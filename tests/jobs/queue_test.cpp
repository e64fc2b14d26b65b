// What every queue promises: one body, run on each kind.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "jobs/clock.h"
#include "jobs/support.h"
#include "jobs/wall_clock.h"

namespace ernie_image {
namespace {

using namespace test;

struct Kind {
  const char* name;
  std::unique_ptr<QueueHarness> (*make)(const std::string& folder);
  bool has_folder;
};

const JobProgress kBegun = {.stage = "transformer"};

class QueueTest : public TemporaryFolder, public ::testing::WithParamInterface<Kind> {
 protected:
  void SetUp() override {
    harness_ = GetParam().make(folder_);
    if (const std::string problem = harness_->problem(); !problem.empty()) GTEST_SKIP() << problem;
    open({});
  }

  /// The queue of the test from now on.
  void open(QueueOptions options) {
    queue_ = nullptr;
    if (GetParam().has_folder) options.output_directory = path("pictures");
    queue_ = open_queue(harness_->located(options));
  }

  std::string submit(const std::string& prompt, const std::string& owner = "ann",
                     JobPriority priority = JobPriority::normal) {
    JobRequest request = small_request(prompt);
    request.priority = priority;
    return queue_->submit(request, owner).id;
  }

  std::vector<Job> claim(int max_jobs = 1, const std::string& worker = "w1") {
    return queue_->claim(worker_named(worker), max_jobs, kNoTime);
  }

  /// Claims one job that must be there.
  Job claim_one(const std::string& worker = "w1") {
    const std::vector<Job> jobs = queue_->claim(worker_named(worker), 1, kPatience);
    EXPECT_EQ(jobs.size(), 1u);
    return jobs.empty() ? Job{} : jobs.front();
  }

  Job submit_with_picture(const std::string& model = small_request().model) {
    JobRequest request = small_request();
    request.model = model;
    request.picture_use.sha256 = "feed";
    Job job = queue_->submit(request, "ann", "", {"picture", "mask"});
    EXPECT_EQ(queue_->inputs(job.id).image, "picture");
    return job;
  }
  void expect_no_inputs(const std::string& id) {
    EXPECT_EQ(queue_->inputs(id).image, "");
    EXPECT_EQ(queue_->inputs(id).mask, "");
  }

  std::unique_ptr<QueueHarness> harness_;
  std::unique_ptr<JobQueue> queue_;
};

TEST_P(QueueTest, KeepsWhatAJobBeginsWithUntilItsEnd) {
  JobRequest request = small_request();
  request.picture_use.sha256 = "feed";
  const JobInputs inputs = {std::string("picture\0", 8), "mask"};
  const Job job = queue_->submit(request, "ann", "key", inputs);
  const Job same = queue_->submit(request, "ann", "key", {"other", ""});
  EXPECT_EQ(same.id, job.id);
  EXPECT_EQ(claim_one().id, job.id);
  const JobInputs kept = queue_->inputs(job.id);
  EXPECT_EQ(kept.image, inputs.image);
  EXPECT_EQ(kept.mask, inputs.mask);
  queue_->complete(job.id, "w1", result_of("png"));
  EXPECT_TRUE(queue_->inputs(job.id).image.empty());
  EXPECT_TRUE(queue_->inputs(job.id).mask.empty());
  EXPECT_TRUE(queue_->inputs("../x").image.empty());

  const std::string without_mask = queue_->submit(request, "ann", "", {"picture", ""}).id;
  EXPECT_TRUE(queue_->inputs(without_mask).mask.empty());
  queue_->cancel(without_mask);
  EXPECT_TRUE(queue_->inputs(without_mask).image.empty());
}

TEST_P(QueueTest, EveryEndForgetsWhatAJobBeginsWith) {
  const std::string failed = submit_with_picture().id;
  claim_one();
  queue_->fail(failed, "w1", {"io", "disk full"});
  expect_no_inputs(failed);

  const std::string released = submit_with_picture().id;
  claim_one();
  queue_->report(released, "w1", kBegun);
  queue_->release(released, "w1");
  EXPECT_EQ(queue_->inputs(released).mask, "mask");
  claim_one();
  queue_->report(released, "w1", kBegun);
  queue_->cancel(released);
  EXPECT_EQ(queue_->inputs(released).mask, "mask");  // its worker may be about to read it
  queue_->release(released, "w1");
  EXPECT_EQ(queue_->find(released)->state, JobState::cancelled);
  expect_no_inputs(released);

  QueueOptions options;
  options.max_queued = 1;
  open(options);
  submit("a");
  EXPECT_THROW(submit_with_picture(), QueueFull);
}

TEST_P(QueueTest, KeepsWhatWasAsked) {
  JobRequest request = small_request("一只猫 \"quoted\"\n");
  request.negative_prompts = {"blurry"};
  request.set_seeds({0, UINT64_MAX});
  request.guidance_scale = 4.1;
  request.priority = JobPriority::high;
  request.image_format = "webp";
  request.previews = 3;
  const Job submitted = queue_->submit(request, "ann");
  const Job job = queue_->find(submitted.id).value();
  EXPECT_EQ(job.owner, "ann");
  EXPECT_EQ(job.state, JobState::queued);
  EXPECT_EQ(job.queue_position, 0);
  EXPECT_EQ(job.request.prompts, request.prompts);
  EXPECT_EQ(job.request.negative_prompts, request.negative_prompts);
  EXPECT_EQ(job.request.seeds, request.seeds);
  EXPECT_EQ(job.request.guidance_scale, 4.1);
  EXPECT_EQ(job.request.priority, JobPriority::high);
  EXPECT_EQ(job.request.image_format, "webp");
  EXPECT_EQ(job.request.previews, 3);
  EXPECT_GT(job.created_ms, 0);
  EXPECT_EQ(queue_->counts().queued, 1);
}

TEST_P(QueueTest, RefusesWhatIsOutOfRange) {
  JobRequest request = small_request();
  request.width_px = 0;
  expect_error(ErrorKind::invalid_argument, {"width"}, [&] { queue_->submit(request, ""); });
  request = small_request();
  request.image_format = "../../etc/passwd";
  expect_error(ErrorKind::invalid_argument, {"format"}, [&] { queue_->submit(request, ""); });
}

TEST_P(QueueTest, KnowsNothingOfOtherIds) {
  for (const std::string id : {"", "../x", "0123456789abcdef0123456789abcdef"}) {
    EXPECT_FALSE(queue_->find(id)) << id;
    EXPECT_FALSE(queue_->wait(id, 0, kNoTime)) << id;
    EXPECT_FALSE(queue_->cancel(id)) << id;
    EXPECT_FALSE(queue_->remove(id)) << id;
    EXPECT_FALSE(queue_->image(id, 0)) << id;
    EXPECT_FALSE(queue_->preview(id)) << id;
    EXPECT_FALSE(queue_->trace(id)) << id;
    EXPECT_FALSE(queue_->report(id, "w1", {})) << id;
  }
}

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

TEST_P(QueueTest, TellsThoseWhoWait) {
  const Job queued = queue_->submit(small_request(), "ann");
  const Job running = claim_one();
  EXPECT_GT(running.version, queued.version);
  std::thread worker([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    queue_->report(running.id, "w1", {"transformer", 1, 2, 0.5, 3.0, 4}, "jpeg");
  });
  const Job told = queue_->wait(running.id, running.version, kPatience).value();
  worker.join();
  EXPECT_GT(told.version, running.version);
  EXPECT_EQ(told.progress.stage, "transformer");
  EXPECT_EQ(told.progress.step, 1);
  EXPECT_EQ(told.progress.steps, 2);
  EXPECT_EQ(told.progress.fraction, 0.5);
  EXPECT_EQ(told.progress.seconds_left, 3.0);
  EXPECT_EQ(told.progress.preview_index, 4);
  EXPECT_EQ(queue_->preview(running.id), "jpeg");
}

TEST_P(QueueTest, AWaitEnds) {
  const Job job = queue_->submit(small_request(), "ann");
  const auto told = queue_->wait(job.id, job.version, std::chrono::milliseconds(20));
  EXPECT_EQ(told->version, job.version);
}

TEST_P(QueueTest, KeepsPictures) {
  const std::string id = submit("a");
  claim_one();
  const std::string bytes("\x89PNG\0\r\n", 7);
  JobResult result = result_of(bytes);
  result.enhanced_prompt = "an apple, ripe";
  result.images.push_back(picture(8, "image/webp", "second"));
  result.trace = "[]";
  queue_->complete(id, "w1", result);
  const Job job = queue_->find(id).value();
  EXPECT_EQ(job.state, JobState::completed);
  EXPECT_EQ(job.enhanced_prompt, "an apple, ripe");
  EXPECT_EQ(job.prompt_tokens, 5);
  EXPECT_EQ(job.attempts, 1);
  EXPECT_GE(job.finished_ms, job.started_ms);
  EXPECT_FALSE(job.queue_position);
  ASSERT_EQ(job.images.size(), 2u);
  EXPECT_EQ(job.images[0].size_bytes, bytes.size());
  EXPECT_EQ(job.images[1].seed, 8u);
  EXPECT_EQ(job.images[1].height_px, 48);
  EXPECT_EQ(queue_->image(id, 0), bytes);
  EXPECT_EQ(queue_->image(id, 1), "second");
  EXPECT_FALSE(queue_->image(id, 2));
  EXPECT_FALSE(queue_->image(id, -1));
  EXPECT_EQ(queue_->trace(id), "[]");
  EXPECT_FALSE(queue_->preview(id));
  EXPECT_EQ(queue_->counts().running, 0);
}

TEST_P(QueueTest, KeepsTheFirstOfTwoResults) {
  const std::string id = submit("a");
  claim_one();
  queue_->complete(id, "w1", result_of("first"));
  const Job before = queue_->find(id).value();
  queue_->complete(id, "w2", result_of("first"));
  queue_->fail(id, "w1", {"io", "too late"});
  queue_->release(id, "w1");
  EXPECT_FALSE(queue_->cancel(id));
  const Job after = queue_->find(id).value();
  EXPECT_EQ(after.state, JobState::completed);
  EXPECT_EQ(after.version, before.version);
  EXPECT_EQ(queue_->image(id, 0), "first");
  EXPECT_TRUE(claim().empty());
}

TEST_P(QueueTest, KeepsTheReasonOfAFailure) {
  const std::string id = submit("a");
  claim_one();
  queue_->fail(id, "w1", {"out_of_memory", "no room"});
  const Job job = queue_->find(id).value();
  EXPECT_EQ(job.state, JobState::failed);
  EXPECT_EQ(job.failure.value().kind, "out_of_memory");
  EXPECT_EQ(job.failure->message, "no room");
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

TEST_P(QueueTest, AnIdempotencyKeyGivesTheSameJob) {
  const Job first = queue_->submit(small_request("a"), "ann", "key");
  EXPECT_EQ(queue_->submit(small_request("a"), "ann", "key").id, first.id);
  EXPECT_NE(queue_->submit(small_request("a"), "bob", "key").id, first.id);
  EXPECT_NE(queue_->submit(small_request("a"), "ann", "other").id, first.id);
  EXPECT_NE(queue_->submit(small_request("a"), "ann").id, first.id);
  EXPECT_EQ(queue_->counts().queued, 4);
}

TEST_P(QueueTest, RefusesMoreThanItHolds) {
  QueueOptions options;
  options.max_queued = 2;
  open(options);
  submit("a");
  queue_->submit(small_request("b"), "ann", "key");
  try {
    submit("c");
    FAIL() << "was accepted";
  } catch (const QueueFull& full) {
    EXPECT_GE(full.retry_after(), std::chrono::seconds(1));
  }
  EXPECT_NO_THROW(queue_->submit(small_request("b"), "ann", "key"));
  claim_one();
  EXPECT_NO_THROW(submit("c"));
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

TEST_P(QueueTest, ListsNewestFirstInPages) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(submit("p", i % 2 == 0 ? "ann" : "bob"));
  const auto listed = [&](const JobFilter& filter) {
    std::vector<std::string> found;
    for (const Job& job : queue_->list(filter)) found.push_back(job.id);
    return found;
  };
  using Ids = std::vector<std::string>;
  JobFilter filter;
  EXPECT_EQ(listed(filter), Ids(ids.rbegin(), ids.rend()));  // all of them wait
  filter.limit = 2;
  EXPECT_EQ(listed(filter), (Ids{ids[4], ids[3]}));
  filter.before = ids[3];
  EXPECT_EQ(listed(filter), (Ids{ids[2], ids[1]}));
  filter.before = "unknown";
  EXPECT_EQ(listed(filter), Ids());
  filter = {};
  filter.owner = "bob";
  EXPECT_EQ(listed(filter), (Ids{ids[3], ids[1]}));
  claim_one();
  filter = {};
  filter.state = JobState::running;
  EXPECT_EQ(listed(filter), Ids{ids[0]});
  filter.state = JobState::queued;
  filter.owner = "ann";
  EXPECT_EQ(listed(filter), (Ids{ids[4], ids[2]}));
  queue_->complete(ids[0], "w1", result_of("bytes"));
  EXPECT_TRUE(queue_->cancel(ids[2]));
  filter.state = std::nullopt;
  EXPECT_EQ(listed(filter), (Ids{ids[4], ids[2], ids[0]}));
  filter.before = ids[2];
  EXPECT_EQ(listed(filter), Ids{ids[0]});
  filter = {};
  EXPECT_EQ(listed(filter), (Ids{ids[4], ids[3], ids[1]}));  // everybody's that are not over
  filter.owner = "ann";
  filter.state = JobState::completed;
  EXPECT_EQ(listed(filter), Ids{ids[0]});
}

TEST_P(QueueTest, ForgetsFinalJobsOnly) {
  const std::string id = submit("a");
  EXPECT_FALSE(queue_->remove(id));
  claim_one();
  EXPECT_FALSE(queue_->remove(id));
  queue_->complete(id, "w1", result_of("bytes"));
  EXPECT_TRUE(queue_->remove(id));
  EXPECT_FALSE(queue_->find(id));
  EXPECT_FALSE(queue_->image(id, 0));
  EXPECT_FALSE(queue_->remove(id));
  EXPECT_TRUE(queue_->list({.owner = "ann"}).empty());
}

TEST_P(QueueTest, ForgetsOnePictureOfSeveral) {
  const std::string id = submit("a");
  EXPECT_FALSE(queue_->remove_image(id, 0));
  claim_one();
  JobResult result = result_of("first");
  result.images.push_back(picture(8, "image/webp", "second"));
  queue_->complete(id, "w1", result);
  EXPECT_TRUE(queue_->remove_image(id, 0));
  for (const int index : {0, 2, -1}) EXPECT_FALSE(queue_->remove_image(id, index)) << index;
  EXPECT_FALSE(queue_->image(id, 0));
  EXPECT_EQ(queue_->image(id, 1), "second");
  const Job job = queue_->find(id).value();
  ASSERT_EQ(job.images.size(), 2u);
  EXPECT_TRUE(job.images[0].is_removed);
  EXPECT_FALSE(job.images[1].is_removed);
  EXPECT_EQ(job.images[1].seed, 8u);
  EXPECT_EQ(queue_->list({.owner = "ann"}).size(), 1u);
  EXPECT_TRUE(queue_->remove(id));
}

TEST_P(QueueTest, ForgetsTheOldestBeyondItsLimit) {
  QueueOptions options;
  options.max_finished = 2;
  open(options);
  std::vector<std::string> ids;
  for (int i = 0; i < 4; ++i) {
    ids.push_back(submit("a"));
    claim_one();
    queue_->complete(ids.back(), "w1", result_of("bytes"));
  }
  EXPECT_FALSE(queue_->find(ids[0]));
  EXPECT_FALSE(queue_->image(ids[1], 0));
  EXPECT_EQ(queue_->image(ids[2], 0), "bytes");
  EXPECT_EQ(queue_->image(ids[3], 0), "bytes");
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

TEST_P(QueueTest, AClockThatJumpsDoesNotChangeHowLongJobsTake) {
  QueueOptions options;
  options.max_queued = 1;
  open(options);
  const std::string id = submit("a");
  claim_one();
  {
    const WallClockShift shift{std::chrono::seconds(3600)};
    queue_->complete(id, "w1", result_of("bytes"));
  }
  submit("b");
  try {
    submit("c");
    FAIL() << "was accepted";
  } catch (const QueueFull& full) {
    EXPECT_LE(full.retry_after(), std::chrono::seconds(60));
  }
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

const Kind kKinds[] = {{"Sqlite", make_sqlite_harness, false},
                       {"SqliteWithFolder", make_sqlite_harness, true},
                       {"Redis", make_redis_harness, false},
                       {"RedisWithFolder", make_redis_harness, true}};

INSTANTIATE_TEST_SUITE_P(Kinds, QueueTest, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace ernie_image
