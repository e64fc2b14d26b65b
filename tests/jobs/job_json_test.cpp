#include "jobs/job_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "jobs/support.h"
#include "request/request.h"

namespace ernie_image {
namespace {

using namespace test;

TEST(JobJson, ReadsWhatItWrote) {
  JobRequest request = small_request();
  request.kind = JobKind::enhance;
  request.seeds = {};
  request.enhance = request.chrome_trace = true;
  const JobRequest read = parse_request(request_text(request), "test");
  EXPECT_EQ(request_text(read), request_text(request));
}

/// Databases hold these, and workers of other versions write them.
TEST(JobJson, KeepsItsFormat) {
  const std::string request =
      R"({"enhance":false,"format":"png","guidance":1.0,"height":32,"kind":0,"model":"emoji-tiny",)"
      R"("negative_prompt":"","previews":0,"priority":1,"prompt":"a panda","quality":100,)"
      R"("seeds":[7],"steps":2,"trace":false,"width":32})";
  EXPECT_EQ(request_text(small_request("a panda")), request);
  const JobRequest read = parse_request(request, "test");
  EXPECT_EQ(request_text(read), request);
  EXPECT_EQ(batch_key(read), "[0,32,32,2,1.0]");
  const std::string worker =
      R"({"current_job":"","device":"cpu","guidance":4.0,"has_enhancer":true,"height":64,)"
      R"("last_seen_ms":5,"model":"m","name":"w","seconds_per_step":0.5,"size_multiple":16,)"
      R"("steps":8,"width":96})";
  EXPECT_EQ(worker_text(parse_worker(worker, "test")), worker);
}

TEST(JobJson, ReplacesWhatIsNoText) {
  const JobRequest read = parse_request(request_text(small_request("\xff")), "test");
  EXPECT_EQ(prompt_of(read), "\xef\xbf\xbd");
}

/// Each member in turn is missing, or of each type, or extreme: an error or a request in range,
/// never anything else.
TEST(JobJson, RefusesEveryWrongMember) {
  const auto good = nlohmann::json::parse(request_text(small_request()));
  const nlohmann::json wrong[] = {nullptr,
                                  true,
                                  -1,
                                  1e300,
                                  UINT64_MAX,
                                  "x",
                                  nlohmann::json::array({1, "a"}),
                                  nlohmann::json::object()};
  int refused = 0;
  for (const auto& [key, value] : good.items()) {
    auto without = good;
    without.erase(key);
    EXPECT_THROW(parse_request(without.dump(), "test"), Error) << key;
    for (const auto& other : wrong) {
      auto changed = good;
      changed[key] = other;
      try {
        check_job_request(parse_request(changed.dump(), "test"));
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::corrupt_file);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(JobJson, RefusesEndlessPrompts) {
  const std::string text = request_text(small_request(std::string((1 << 20) + 1, 'x')));
  EXPECT_THROW(parse_request(text, "test"), Error);
}

TEST(JobJson, RefusesTextThatIsNoObject) {
  for (const char* text : {"", "[]", "3", "{", "\"x\"", "{\"kind\":0}"}) {
    EXPECT_THROW(parse_request(text, "test"), Error) << text;
    EXPECT_THROW(parse_progress(text, "test"), Error) << text;
    EXPECT_THROW(parse_outcome(text, "test"), Error) << text;
    EXPECT_THROW(parse_worker(text, "test"), Error) << text;
  }
}

TEST(JobJson, OnlyEqualWorkSharesABatch) {
  const JobRequest request = small_request("a");
  JobRequest other = small_request("b");
  other.set_seeds({1, 2});
  EXPECT_EQ(batch_key(request), batch_key(other));
  other.guidance_scale = 1.0000001;
  EXPECT_NE(batch_key(request), batch_key(other));
}

}  // namespace
}  // namespace ernie_image
