#include "jobs/job_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "jobs/short_json.h"
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

TEST(JobJson, KeepsWhatAJobBeginsWith) {
  JobRequest request = small_request();
  EXPECT_EQ(nlohmann::json::parse(request_text(request)).count("image"), 0u);
  request.picture.strength = 0.25;
  request.picture.strength_mode = StrengthMode::a1111;
  request.picture_use = {"feed", "beef", {Fit::pad, 3, true}};
  const JobRequest read = parse_request(request_text(request), "test");
  EXPECT_EQ(request_text(read), request_text(request));
  EXPECT_EQ(read.picture.strength, 0.25);
  EXPECT_EQ(read.picture_use.mask_sha256, "beef");
  // One picture is below all that is drawn together.
  JobRequest other = request;
  EXPECT_EQ(batch_key(other), batch_key(request));
  other.picture_use.sha256 = "food";
  EXPECT_NE(batch_key(other), batch_key(request));
  other = request;
  other.picture.strength = 0.5;
  EXPECT_NE(batch_key(other), batch_key(request));
  other = request;
  other.picture_use.sha256.clear();
  EXPECT_THROW(check_job_request(other), Error);  // a mask without a picture
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
      R"("model":"m","name":"w","pixels_per_second":0.0,"seconds_per_step":0.5,"size_multiple":16,)"
      R"("steps":8,"width":96})";
  EXPECT_EQ(worker_text(parse_worker(worker, "test")), worker);
}

TEST(ShortJson, GivesBackWhatItWasGiven) {
  JobRequest request = small_request("a \"quoted\" \x01 一只猫 ,\"width\":");
  request.adapters = {{"style", 0.5}};
  JobResult result = result_of("bytes");
  result.enhanced_prompt = "much longer";
  for (const std::string& json :
       {request_text(request), request_text(small_request()), outcome_text(outcome_of(result)),
        outcome_text(outcome_of(result_of("b")))}) {
    EXPECT_EQ(restored_json(shortened_json(json)), json);
    EXPECT_LT(shortened_json(json).size(), json.size() * 2 / 3);
  }
  EXPECT_EQ(restored_json("plain"), "plain");
}

TEST(JobJson, ReplacesWhatIsNoText) {
  const JobRequest read = parse_request(request_text(small_request("\xff")), "test");
  EXPECT_EQ(prompt_of(read), "\xef\xbf\xbd");
}

/// Each member in turn is missing, or of each type, or extreme: an error or a request in range,
/// never anything else.
TEST(JobJson, RefusesEveryWrongMember) {
  JobRequest request = small_request();
  request.adapters = {{"style", 0.5}};
  request.picture_use = {"feed", "beef", {}};
  const auto good = nlohmann::json::parse(request_text(request));
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
    if (key == "loras") {  // which most jobs do not have
      EXPECT_TRUE(parse_request(without.dump(), "test").adapters.empty());
    } else if (key == "image") {
      EXPECT_TRUE(parse_request(without.dump(), "test").picture_use.sha256.empty());
    } else {
      EXPECT_THROW(parse_request(without.dump(), "test"), Error) << key;
    }
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

TEST(JobJson, RefusesWrongAdapters) {
  const auto good = nlohmann::json::parse(request_text(small_request()));
  const nlohmann::json lora = {{"name", "style"}, {"strength", 1}};
  const auto read = [&](const nlohmann::json& loras) {
    auto changed = good;
    changed["loras"] = loras;
    return parse_request(changed.dump(), "test");
  };
  EXPECT_EQ(read(nlohmann::json::array({lora})).adapters.at(0).path, "style");
  const nlohmann::json wrong[] = {{{"name", ""}, {"strength", 1}},
                                  {{"name", "style"}},
                                  {{"name", "style"}, {"strength", 101}},
                                  {{"name", 3}, {"strength", 1}},
                                  {{"name", "style"}, {"strength", 1}, {"prompt", 0}},
                                  {{"name", std::string(1025, 'x')}, {"strength", 1}}};
  for (const nlohmann::json& each : wrong)
    EXPECT_THROW(read(nlohmann::json::array({each})), Error) << each;
  EXPECT_THROW(read(std::vector<nlohmann::json>(17, lora)), Error);
}

TEST(JobJson, RefusesEndlessPrompts) {
  const std::string text = request_text(small_request(std::string((1 << 20) + 1, 'x')));
  EXPECT_THROW(parse_request(text, "test"), Error);
}

TEST(JobJson, ReadsProgressOfEarlierReleases) {
  const JobProgress told = parse_progress(
      R"({"stage":"transformer","step":1,"steps":2,"fraction":0.5,"preview":-1})", "test");
  EXPECT_EQ(told.image, -1);
  EXPECT_EQ(told.images, 0);
}

TEST(JobJson, RefusesTextThatIsNoObject) {
  for (const char* text : {"", "[]", "3", "{", "\"x\"", "{\"kind\":0}"}) {
    EXPECT_THROW(parse_request(text, "test"), Error) << text;
    EXPECT_THROW(parse_progress(text, "test"), Error) << text;
    EXPECT_THROW(parse_outcome(text, "test"), Error) << text;
    EXPECT_THROW(parse_worker(text, "test"), Error) << text;
  }
}

TEST(JobJson, ClientsAreToldNoFolders) {
  EXPECT_EQ(without_folders("/srv/pictures/a_0.png: cannot write: No space left on device"),
            "a_0.png: cannot write: No space left on device");
  EXPECT_EQ(without_folders("the folder /srv/pictures does not exist"),
            "the folder pictures does not exist");
  EXPECT_EQ(without_folders("(/a/b/): 3/4 of x/y"), "(b/): 3/4 of x/y");
  EXPECT_EQ(without_folders("/"), "");
}

TEST(JobJson, OnlyEqualWorkSharesABatch) {
  const JobRequest request = small_request("a");
  JobRequest other = small_request("b");
  other.set_seeds({1, 2});
  EXPECT_EQ(batch_key(request), batch_key(other));
  other.guidance_scale = 1.0000001;
  EXPECT_NE(batch_key(request), batch_key(other));
  other = request;
  other.adapters = {{"style", 0.5}};  // which change the model for all that is drawn together
  EXPECT_NE(batch_key(request), batch_key(other));
  EXPECT_EQ(parse_request(request_text(other), "x").adapters.at(0).strength, 0.5);
}

}  // namespace
}  // namespace ernie_image
