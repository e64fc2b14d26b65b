// What becomes of jobs in every queue: kept, listed, told of, forgotten.
#include "jobs/queue_test.h"

#include <thread>

#include "jobs/wall_clock.h"

namespace ernie_image::test {

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

TEST_P(QueueTest, TellsThoseWhoWait) {
  const Job queued = queue_->submit(small_request(), "ann");
  const Job running = claim_one();
  EXPECT_GT(running.version, queued.version);
  std::thread worker([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    queue_->report(running.id, "w1", {"transformer", 1, 2, 0.5, 3.0, 4, 5, 6}, "jpeg");
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
  EXPECT_EQ(told.progress.image, 5);
  EXPECT_EQ(told.progress.images, 6);
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
  filter.oldest_first = true;
  EXPECT_EQ(listed(filter), (Ids{ids[0], ids[1]}));
  filter.oldest_first = false;
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

const QueueKind kQueueKinds[] = {{"Sqlite", make_sqlite_harness, false},
                                 {"SqliteWithFolder", make_sqlite_harness, true},
                                 {"Redis", make_redis_harness, false},
                                 {"RedisWithFolder", make_redis_harness, true}};

INSTANTIATE_TEST_SUITE_P(Kinds, QueueTest, ::testing::ValuesIn(kQueueKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace ernie_image::test
