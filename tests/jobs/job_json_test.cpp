#include "jobs/job_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "jobs/support.h"

namespace ernie_image {
namespace {

using namespace test;

TEST(JobJson, ReadsWhatItWrote) {
  JobRequest request = small_request();
  request.kind = JobKind::enhance;
  request.seeds = {};
  request.enhance = request.trace = true;
  const JobRequest read = parse_request(request_text(request), "test");
  EXPECT_EQ(request_text(read), request_text(request));
}

TEST(JobJson, ReplacesWhatIsNoText) {
  const JobRequest read = parse_request(request_text(small_request("\xff")), "test");
  EXPECT_EQ(read.prompt, "\xef\xbf\xbd");
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
    if (key == "loras") {  // which jobs of older versions do not have
      EXPECT_TRUE(parse_request(without.dump(), "test").loras.empty());
    } else {
      EXPECT_THROW(parse_request(without.dump(), "test"), Error) << key;
    }
    for (const auto& other : wrong) {
      auto changed = good;
      changed[key] = other;
      try {
        check_request(parse_request(changed.dump(), "test"));
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
  other.seeds = {1, 2};
  EXPECT_EQ(batch_key(request), batch_key(other));
  other.guidance_scale = 1.0000001;
  EXPECT_NE(batch_key(request), batch_key(other));
  other = request;
  other.loras = {{"style", 0.5}};  // which change the model for all that is drawn together
  EXPECT_NE(batch_key(request), batch_key(other));
  EXPECT_EQ(parse_request(request_text(other), "x").loras.at(0).strength, 0.5);
}

}  // namespace
}  // namespace ernie_image
