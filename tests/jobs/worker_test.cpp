// The worker on the embedded model, with the queue of one process.
#include "jobs/worker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "common/image_record.h"
#include "ernie_image/log.h"
#include "jobs/support.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

using namespace test;

constexpr const char* kPrompts[] = {"a panda", "a red apple on a blue background",
                                    "a yellow star on a very dark green background, drawn twice"};

JobRequest picture_request(const std::string& prompt, std::vector<std::uint64_t> seeds = {7}) {
  JobRequest request = small_request(prompt);
  request.width_px = request.height_px = 64;
  request.num_inference_steps = 4;
  request.set_seeds(std::move(seeds));
  return request;
}

class WorkerTest : public TemporaryFolder {
 protected:
  WorkerTest() : queue_(open_queue({})) {}

  static Pipeline load() { return Pipeline::load({.model = "embedded:emoji-tiny"}); }

  WorkerOptions options(int max_batch = 1) const {
    WorkerOptions options;
    options.runner.max_batch = max_batch;
    options.runner.enhance.cache = "off";
    options.name = "w";
    return options;
  }

  std::string submit(const JobRequest& request) { return queue_->submit(request, "ann").id; }

  /// Waits for the job's end.
  Job end_of(const std::string& id) {
    std::int64_t version = 0;
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      const Job job = queue_->wait(id, version, kPatience).value();
      if (is_final(job.state)) return job;
      version = job.version;
    }
    ADD_FAILURE() << "the job did not end";
    return {};
  }

  /// The picture files of these requests, all queued before the worker begins.
  std::vector<Bytes> pictures(const std::vector<JobRequest>& requests, int max_batch) {
    std::vector<std::string> ids;
    for (const JobRequest& request : requests) ids.push_back(submit(request));
    Worker worker(*queue_, load(), options(max_batch));
    std::vector<Bytes> pictures;
    for (const std::string& id : ids) {
      const Job job = end_of(id);
      EXPECT_EQ(job.state, JobState::completed) << (job.failure ? job.failure->message : "");
      for (int i = 0; i < std::ssize(job.images); ++i) {
        pictures.push_back(queue_->image(id, i).value());
      }
    }
    return pictures;
  }

  /// A job of very many steps, begun.
  std::string begin_long_job() {
    JobRequest request = picture_request("a cat");
    request.num_inference_steps = 1000;
    const std::string id = submit(request);
    std::int64_t version = 0;
    while (queue_->find(id)->progress.step == 0) {
      const Job job = queue_->wait(id, version, kPatience).value();
      if (is_final(job.state)) break;
      version = job.version;
    }
    return id;
  }

  std::unique_ptr<JobQueue> queue_;
};

TEST_F(WorkerTest, ABatchMakesThePicturesOfEachAlone) {
  std::vector<JobRequest> requests;
  for (const char* prompt : kPrompts) requests.push_back(picture_request(prompt, {7, 8}));
  const std::vector<Bytes> alone = pictures(requests, 1);
  ASSERT_EQ(alone.size(), 6u);
  EXPECT_EQ(std::set<Bytes>(alone.begin(), alone.end()).size(), 6u);
  for (const int max_batch : {2, 3, 6}) EXPECT_EQ(pictures(requests, max_batch), alone);
}

TEST_F(WorkerTest, SoDoesAGuidedBatch) {
  std::vector<JobRequest> requests;
  for (const char* prompt : kPrompts) {
    requests.push_back(picture_request(prompt));
    requests.back().guidance_scale = 3;
    if (requests.size() == 2) requests.back().negative_prompts = {"blurry"};
  }
  EXPECT_EQ(pictures(requests, 3), pictures(requests, 1));
}

TEST_F(WorkerTest, APictureCanBeMadeAgainFromItsRecord) {
  std::vector<JobRequest> requests;
  for (const char* prompt : kPrompts) requests.push_back(picture_request(prompt, {7, 8}));
  const std::vector<Bytes> files = pictures(requests, 4);
  ASSERT_EQ(files.size(), 6u);
  const ImageFile file = read_image(write("picture.png", files[3]));
  const ImageRecord record = parse_image_record("picture.png", file.metadata.at(kRecordChunk));
  EXPECT_EQ(record.request.prompts, std::vector<std::string>{kPrompts[1]});
  EXPECT_EQ(record.request.seeds, std::vector<std::uint64_t>{8});
  EXPECT_EQ(file.metadata.at(kParametersChunk).find(kPrompts[0]), std::string::npos);
  Pipeline pipeline = load();
  EXPECT_EQ(pipeline.info().content_hash, record.model_content_hash);
  EXPECT_EQ(pipeline.generate(record.request).images.front().rgb, file.image.rgb);
}

TEST_F(WorkerTest, APictureToBeginWithIsThatOfTheJob) {
  const std::string model = golden::data_path("reference/models/tiny_a");
  Pipeline pipeline = Pipeline::load({.model = model});
  JobRequest asked = picture_request("a cat");
  asked.width_px = 48;
  asked.height_px = 32;
  Request request = asked;
  request.picture.image = {48, 32, std::vector<std::uint8_t>(3 * 48 * 32, 200)};
  request.picture.mask.assign(48 * 32, 255);
  std::fill_n(request.picture.mask.begin(), 48 * 16, std::uint8_t{0});
  Image mask{48, 32, {}};
  for (const std::uint8_t value : request.picture.mask) mask.rgb.insert(mask.rgb.end(), 3, value);
  const auto png = [](const Image& image) {
    const auto bytes = encode_image(image, {ImageFormat::png, 100}, {});
    return Bytes(bytes.begin(), bytes.end());
  };
  asked.model = pipeline.info().name;
  asked.picture_use = {picture_hash(request.picture.image), mask_hash(request.picture), {}};
  const Image expected = pipeline.generate(request).images.front();
  const std::string id =
      queue_->submit(asked, "ann", "", {png(request.picture.image), png(mask)}).id;
  JobRequest gone = asked;
  gone.picture_use.sha256 = "feed";
  const std::string without = queue_->submit(gone, "ann").id;
  Worker worker(*queue_, std::move(pipeline), options(2));
  ASSERT_EQ(end_of(id).state, JobState::completed);
  const ImageFile file = read_image(write("picture.png", queue_->image(id, 0).value()));
  EXPECT_EQ(file.image.rgb, expected.rgb);
  const ImageRecord record = parse_image_record("a.png", file.metadata.at(kRecordChunk));
  EXPECT_EQ(record.picture.sha256, asked.picture_use.sha256);
  EXPECT_EQ(record.picture.mask_sha256, asked.picture_use.mask_sha256);
  EXPECT_EQ(end_of(without).failure.value().kind, "not_found");
}

TEST_F(WorkerTest, WritesEachFormat) {
  std::vector<JobRequest> requests;
  for (const char* format : {"png", "jpeg", "webp"}) {
    requests.push_back(picture_request("a cat"));
    requests.back().image_format = format;
    requests.back().image_quality = 80;
  }
  const std::vector<Bytes> files = pictures(requests, 1);
  EXPECT_EQ(files[0].substr(1, 3), "PNG");
  EXPECT_EQ(files[1].substr(0, 2), "\xff\xd8");
  EXPECT_EQ(files[2].substr(8, 4), "WEBP");
}

TEST_F(WorkerTest, SaysWhichPicturesItDraws) {
  JobRequest request = picture_request("a cat");
  request.set_seeds({1, 2, 3});
  request.num_inference_steps = kSecondsOfSteps / 8;
  const std::string id = submit(request);
  Worker worker(*queue_, load(), options(2));  // two at a time
  std::set<std::pair<int, int>> drawn;
  Job job = queue_->find(id).value();
  while (!is_final(job.state)) {
    job = queue_->wait(id, job.version, kPatience).value();
    if (job.progress.stage == "transformer") drawn.emplace(job.progress.image, job.progress.images);
  }
  EXPECT_EQ(drawn, (std::set<std::pair<int, int>>{{0, 2}, {2, 1}}));
}

TEST_F(WorkerTest, TellsProgressAndShowsPreviews) {
  JobRequest request = picture_request("a cat");
  request.num_inference_steps = request.previews = kSecondsOfSteps / 4;
  request.chrome_trace = true;
  const std::string id = submit(request);
  Worker worker(*queue_, load(), options());
  std::set<std::string> stages;
  std::set<Bytes> previews;
  double fraction = 0;
  bool has_time = false;
  Job job = queue_->find(id).value();
  while (!is_final(job.state)) {
    job = queue_->wait(id, job.version, kPatience).value();
    if (job.state != JobState::running) continue;
    EXPECT_GE(job.progress.fraction, fraction);
    fraction = job.progress.fraction;
    stages.insert(job.progress.stage);
    has_time = has_time || job.progress.seconds_left.has_value();
    if (const auto preview = queue_->preview(id)) {
      EXPECT_EQ(preview->substr(0, 2), "\xff\xd8");
      EXPECT_GE(job.progress.preview_index, 0);
      previews.insert(*preview);
    }
  }
  EXPECT_EQ(job.state, JobState::completed);
  EXPECT_TRUE(stages.contains("transformer"));
  EXPECT_TRUE(has_time);
  EXPECT_GT(previews.size(), 3u);
  const auto trace = nlohmann::json::parse(queue_->trace(id).value());
  EXPECT_GT(trace["traceEvents"].size(), std::size_t{kSecondsOfSteps / 4});
}

TEST_F(WorkerTest, StopsACancelledJobWithinAStep) {
  Worker worker(*queue_, load(), options());
  const std::string id = begin_long_job();
  EXPECT_TRUE(queue_->cancel(id));
  const Job job = end_of(id);
  EXPECT_EQ(job.state, JobState::cancelled);
  const std::string next = submit(picture_request("a dog"));
  EXPECT_EQ(end_of(next).state, JobState::completed);
}

TEST_F(WorkerTest, ACancelledJobDoesNotStopItsBatch) {
  JobRequest request = picture_request("a cat");
  request.num_inference_steps = kSecondsOfSteps;
  const std::string first = submit(request), second = submit(request);
  Worker worker(*queue_, load(), options(2));
  while (queue_->find(first)->progress.step == 0) std::this_thread::yield();
  EXPECT_TRUE(queue_->cancel(first));
  EXPECT_EQ(end_of(first).state, JobState::cancelled);
  EXPECT_EQ(end_of(second).state, JobState::completed);
}

TEST_F(WorkerTest, AJobThatCannotBeDoneFailsAloneAndKillsNobody) {
  JobRequest wrong = picture_request("a cat");
  wrong.width_px = 60;  // does not divide
  const std::string size = submit(wrong);
  const std::string good = submit(picture_request("a cat"));
  const std::string zero = submit(picture_request(std::string("a\0cat", 5)));
  Worker worker(*queue_, load(), options(4));
  const Job failed = end_of(size);
  EXPECT_EQ(failed.state, JobState::failed);
  EXPECT_EQ(failed.failure.value().kind, "invalid_argument");
  EXPECT_NE(failed.failure->message.find("60"), std::string::npos);
  EXPECT_EQ(end_of(good).state, JobState::completed);
  EXPECT_TRUE(is_final(end_of(zero).state));
}

TEST_F(WorkerTest, EnhancesPrompts) {
  JobRequest request = picture_request("a cat");
  request.enhance = true;
  const std::string picture = submit(request);
  request.kind = JobKind::enhance;
  request.set_seeds({1});
  const std::string text = submit(request);
  JobRequest blank = picture_request(" ");
  blank.enhance = true;
  const std::string empty = submit(blank);
  Worker worker(*queue_, load(), options());
  EXPECT_TRUE(worker.info().has_enhancer);
  const Job drawn = end_of(picture);
  ASSERT_EQ(drawn.state, JobState::completed) << drawn.failure->message;
  EXPECT_FALSE(drawn.enhanced_prompt.empty());
  const ImageFile file = read_image(write("picture.png", queue_->image(picture, 0).value()));
  const ImageRecord record = parse_image_record("picture.png", file.metadata.at(kRecordChunk));
  EXPECT_EQ(record.request.prompts.front(), drawn.enhanced_prompt);
  EXPECT_EQ(record.original_prompts.front(), "a cat");
  const Job written = end_of(text);
  EXPECT_FALSE(written.enhanced_prompt.empty());
  EXPECT_TRUE(written.images.empty());
  const Job unwritten = end_of(empty);
  EXPECT_EQ(unwritten.state, JobState::completed);
  EXPECT_TRUE(unwritten.enhanced_prompt.empty()) << unwritten.enhanced_prompt;
}

/// The output folder is gone, or the disk is full: the picture is drawn once, and everybody is
/// told.
TEST_F(WorkerTest, AResultThatCannotBeStoredFailsTheJobOnce) {
  QueueOptions with_folder;
  with_folder.output_directory = path("pictures");
  queue_ = open_queue(with_folder);
  std::mutex mutex;
  std::vector<std::string> told;
  set_log_sink([&](LogLevel, const std::string& message) {
    const std::lock_guard lock(mutex);
    told.push_back(message);
  });
  Worker worker(*queue_, load(), options());
  std::filesystem::remove_all(path("pictures"));
  const std::string gone = submit(picture_request("a cat", {7, 8}));
  const Job failed = end_of(gone);
  std::filesystem::create_directory(path("pictures"));
  const std::string next = submit(picture_request("a dog"));
  EXPECT_EQ(end_of(next).state, JobState::completed);
  set_log_sink({});
  EXPECT_EQ(failed.state, JobState::failed);
  EXPECT_EQ(failed.failure.value().kind, "io");
  EXPECT_EQ(failed.attempts, 1);
  EXPECT_NE(failed.failure->message.find("does not exist"), std::string::npos)
      << failed.failure->message;
  EXPECT_EQ(failed.failure->message.find(path("")), std::string::npos) << failed.failure->message;
  const bool is_logged = std::ranges::any_of(told, [&](const std::string& message) {
    return message.find(gone) != std::string::npos && message.find(path("")) != std::string::npos;
  });
  EXPECT_TRUE(is_logged);
}

TEST_F(WorkerTest, DrainsWhatItHasBegun) {
  const std::string id = submit(picture_request("a cat"));
  Worker worker(*queue_, load(), options());
  while (queue_->find(id)->state == JobState::queued) std::this_thread::yield();
  worker.drain(kPatience);
  EXPECT_EQ(queue_->find(id)->state, JobState::completed);
  const std::string late = submit(picture_request("a dog"));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(queue_->find(late)->state, JobState::queued);
}

TEST_F(WorkerTest, GivesBackWhatItCannotFinishInTime) {
  Worker worker(*queue_, load(), options());
  const std::string id = begin_long_job();
  worker.drain(kNoTime);
  const Job job = queue_->find(id).value();
  EXPECT_EQ(job.state, JobState::queued);
  EXPECT_EQ(job.attempts, 0);
}

TEST_F(WorkerTest, AnnouncesItself) {
  Worker worker(*queue_, load(), options());
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (queue_->workers().empty() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  const WorkerInfo info = queue_->workers().at(0);
  EXPECT_EQ(info.model, "emoji-tiny");
  EXPECT_EQ(info.defaults.width_px, 64);
  EXPECT_EQ(info.size_multiple_px, 16);
}

TEST(BatchLimit, IsFewerTheLargerTheyAre) {
  RunnerOptions options;
  options.load.cpu_kernels = "portable";
  EXPECT_EQ(batch_limit(options).images(1024, 1024), 1);
  EXPECT_EQ(batch_limit(options).images(64, 64), 8);
  EXPECT_EQ(batch_limit(options).images(32, 32), 1);
  options.max_batch = 3;
  EXPECT_EQ(batch_limit(options).images(1024, 1024), 3);
}

TEST(FairShare, LeavesNobodyWithout) {
  EXPECT_EQ(fair_share(4, 2, 0, 0), 2);
  EXPECT_EQ(fair_share(5, 2, 0, 0), 3);
  EXPECT_EQ(fair_share(1, 3, 0, 0), 1);
  EXPECT_EQ(fair_share(9, 2, 2, 3), 6);
  EXPECT_EQ(fair_share(9, 2, 1, 3), 3);
}

}  // namespace
}  // namespace ernie_image
