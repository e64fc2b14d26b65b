// What every queue promises is one body of tests, run on each kind: queue_test.cpp has what becomes
// of jobs, queue_claims_test.cpp who works on them and when.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "jobs/support.h"

namespace ernie_image::test {

struct QueueKind {
  const char* name;
  std::unique_ptr<QueueHarness> (*make)(const std::string& folder);
  bool has_folder;
};

inline const JobProgress kBegun = {.stage = "transformer"};

class QueueTest : public TemporaryFolder, public ::testing::WithParamInterface<QueueKind> {
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

}  // namespace ernie_image::test
