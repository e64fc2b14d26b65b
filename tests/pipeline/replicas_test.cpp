// One request on several cards.
#include "pipeline/replicas.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "ascend_standin/machine.h"

#include "backend/registry.h"
#include "ernie_image/error.h"
#include "ernie_image/log.h"
#include "support/device.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

TEST(DeviceList, IsOneNameForEachCard) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(split_device_list("cpu"), Names{"cpu"});
  EXPECT_EQ(split_device_list("ascend"), Names{"ascend"});
  EXPECT_EQ(split_device_list("ascend:3"), Names{"ascend:3"});
  EXPECT_EQ(split_device_list("ascend:0,1,12"), (Names{"ascend:0", "ascend:1", "ascend:12"}));
  for (const char* wrong : {"", "gpu", "cpu:0", "ascend:", "ascend:0,", "ascend:,1", "ascend:0,x",
                            "ascend:0,0", "ascend:-1", "ascend:99999999999"})
    EXPECT_THROW(split_device_list(wrong), Error) << wrong;
  std::string endless = "ascend:0";
  for (int i = 1; i < 1000; ++i) endless += "," + std::to_string(i);
  EXPECT_THROW(split_device_list(endless), Error);
}

Request two_prompts_twice() {
  Request request;
  request.prompts = {"a", "b"};
  request.negative_prompts = {"x", "y"};
  request.num_images_per_prompt = 2;
  request.on_progress = [](const Progress&) {};
  return request;
}

TEST(Replicas, EachPartHasItsPicturesPromptsAndNoise) {
  const std::vector<float> latents = {0, 1, 2, 3, 4, 5, 6, 7};  // two a picture
  const auto parts = split_request(two_prompts_twice(), latents, 3);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].prompts, (std::vector<std::string>{"a"}));
  EXPECT_EQ(parts[1].prompts, (std::vector<std::string>{"a"}));
  EXPECT_EQ(parts[2].prompts, (std::vector<std::string>{"b", "b"}));
  EXPECT_EQ(parts[2].negative_prompts, (std::vector<std::string>{"y", "y"}));
  EXPECT_EQ(parts[2].latents, (std::vector<float>{4, 5, 6, 7}));
  EXPECT_TRUE(parts[0].on_progress);
  EXPECT_FALSE(parts[1].on_progress);
  EXPECT_EQ(split_request(two_prompts_twice(), latents, 9).size(), 4u);
}

TEST(Replicas, ResultsAreJoinedInOrder) {
  Result first, second;
  first.images = {{1, 1, {0, 0, 0}}, {1, 1, {1, 1, 1}}};
  second.images = {{1, 1, {2, 2, 2}}, {1, 1, {3, 3, 3}}};
  first.prompt_tokens = {5, 5};
  second.prompt_tokens = {7, 7};
  first.timings.step_seconds = {1, 4};
  second.timings.step_seconds = {2, 3};
  const Result all = join_results(two_prompts_twice(), {first, second});
  ASSERT_EQ(all.images.size(), 4u);
  EXPECT_EQ(all.images[3].rgb[0], 3);
  EXPECT_EQ(all.prompt_tokens, (std::vector<int>{5, 7}));
  EXPECT_EQ(all.timings.step_seconds, (std::vector<double>{2, 4}));
}

TEST(Replicas, AllRunsAreWaitedForBeforeAnErrorIsThrown) {
  bool finished = false;
  const auto fails = []() -> Result { throw Error(ErrorKind::device, "broken"); };
  const auto works = [&]() -> Result {
    finished = true;
    return {};
  };
  EXPECT_THROW(run_together({fails, works}), Error);
  EXPECT_TRUE(finished);
}

TEST(Replicas, TheFirstErrorIsThrownAndTheLogIsToldOfTheOthers) {
  std::vector<std::string> told;
  set_log_sink([&](LogLevel, const std::string& message) { told.push_back(message); });
  const auto fails = [](ErrorKind kind, const char* message) {
    return [=]() -> Result { throw Error(kind, message); };
  };
  try {
    run_together({fails(ErrorKind::device, "one"), fails(ErrorKind::io, "two"),
                  fails(ErrorKind::cancelled, "three")});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "one");
  }
  set_log_sink({});
  EXPECT_EQ(told, std::vector<std::string>{"another device failed too: two"});
}

/// On the stand-in, which has two cards.
class ReplicasOnCards : public ::testing::Test {
 protected:
  static std::vector<Image> draw(const std::string& device, const Request& request,
                                 Precision precision = Precision::fp32) {
    LoadOptions options;
    options.model = golden::data_path("reference/models/tiny_a");
    options.device = device;
    options.precision = precision;
    return Pipeline::load(options).generate(request).images;
  }
  static Request request() {
    Request request;
    request.prompts = {"a red apple", "two green pears on a table, beside a cup"};
    request.num_images_per_prompt = 2;
    request.height_px = request.width_px = 64;
    request.num_inference_steps = 2;
    return request;
  }
  static void expect_same(const std::vector<Image>& a, const std::vector<Image>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].rgb, b[i].rgb) << i;
  }
  void SetUp() override {
    if (test_device() != "ascend") GTEST_SKIP() << "for the stand-in's two cards";
  }
};

TEST_F(ReplicasOnCards, OneSeedGivesThePicturesOfOneCard) {
  expect_same(draw("ascend:0,1", request()), draw("ascend:0", request()));
}

TEST_F(ReplicasOnCards, ASeedForEachPictureGivesThePicturesOfOneCard) {
  Request each = request();
  each.seeds = {1, 2, 3, 4};
  each.guidance_scale = 3.0;
  each.negative_prompts = {"blurred", "dark"};
  expect_same(draw("ascend:0,1", each, Precision::bf16), draw("ascend:1", each, Precision::bf16));
}

/// Cards that share a picture, and what may happen to them.
class SharedPicture : public ReplicasOnCards {
 protected:
  static Pipeline load(const std::string& device, const std::string& parallel,
                       const std::string& model = "tiny_a") {
    LoadOptions options;
    options.model = golden::data_path("reference/models/" + model);
    options.device = device;
    options.device_options = {{"parallel", parallel}};
    return Pipeline::load(options);
  }
  static Request one() {
    Request request;
    request.prompts = {"a red apple"};
    request.height_px = request.width_px = 64;
    request.num_inference_steps = 2;
    return request;
  }
  static void fail(const char* function, int nth) {
    void* const library = dlopen("libascendcl.so", RTLD_LAZY | RTLD_NOLOAD);
    ASSERT_NE(library, nullptr);
    const auto order =
        reinterpret_cast<void (*)(const char*, int, int)>(dlsym(library, "standin_fail"));
    order(function, nth, 5);
  }
  static std::int64_t exchanged() {
    void* const library = dlopen("libascendcl.so", RTLD_LAZY | RTLD_NOLOAD);
    StandinBooks books{};
    reinterpret_cast<decltype(&standin_books)>(dlsym(library, "standin_books"))(0, &books);
    return static_cast<std::int64_t>(books.exchanged_bytes);
  }
  static void forget() {
    void* const library = dlopen("libascendcl.so", RTLD_LAZY | RTLD_NOLOAD);
    reinterpret_cast<void (*)()>(dlsym(library, "standin_forget_violations"))();
  }
};

TEST_F(SharedPicture, AFailureOfOneCardEndsTheRunAndTheNextOneWorks) {
  Pipeline pipeline = load("ascend:0,1", "ulysses");
  fail("HcclAlltoAll", 7);
  try {
    pipeline.generate(one());
    FAIL() << "it did not fail";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("failed with 5"), std::string::npos) << error.what();
  }
  forget();
  expect_same(pipeline.generate(one()).images, draw("ascend:0", one()));
}

TEST_F(SharedPicture, CancellingStopsAllCards) {
  Pipeline pipeline = load("ascend:0,1", "ulysses");
  Request request = one();
  const auto token = std::make_shared<CancelToken>();
  request.cancel = token;
  request.on_progress = [&](const Progress& progress) {
    if (progress.stage == Stage::transformer) token->request();
  };
  try {
    pipeline.generate(request);
    FAIL() << "it was not cancelled";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::cancelled) << error.what();
  }
  expect_same(pipeline.generate(one()).images, draw("ascend:0", one()));
}

/// The model of time in docs/ascend.md stands on this: four exchanges a layer of what a card has of
/// one tensor, but for its own part, and once a step all cards' results.
TEST_F(SharedPicture, WhatIsExchangedIsWhatTheModelOfTimeSays) {
  Pipeline pipeline = load("ascend:0,1", "ulysses");
  const std::int64_t before = exchanged();
  golden::TensorMap seen;
  Request request = one();
  request.trace = &seen;
  const Result result = pipeline.generate(request);
  const Shape latents = seen.tensors.at("latents.final").shape();
  const std::int64_t width = 128, layers = 3, cards = 2, steps = 2, number = sizeof(float);
  const std::int64_t tokens = latents[2] * latents[3] + result.prompt_tokens[0];
  const std::int64_t own = (tokens + cards - 1) / cards;
  const std::int64_t each_layer = 4 * own * width * (cards - 1) / cards;
  const std::int64_t at_the_end = own * latents[1] * (cards - 1);
  EXPECT_EQ(exchanged() - before, steps * cards * (layers * each_layer + at_the_end) * number);
}

TEST_F(SharedPicture, HeadsThatCannotBeSharedOutAreAnError) {
  Pipeline pipeline = load("ascend:0,1", "ulysses", "tiny_b");  // three heads
  try {
    pipeline.generate(one());
    FAIL() << "it did not fail";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("3 heads"), std::string::npos) << error.what();
  }
  EXPECT_EQ(load("ascend:0,1", "auto", "tiny_b").generate(one()).images.size(), 1u);
}

/// Cards that have a share of each weight.
class SplitPicture : public SharedPicture {
 protected:
  static LoadOptions options(const std::string& device, const std::string& model = "tiny_a") {
    LoadOptions options;
    options.model = golden::data_path("reference/models/" + model);
    options.device = device;
    options.device_options = {{"parallel_weights", "split"}, {"offload", "encoder"}};
    return options;
  }
  static void expect_refused(ErrorKind kind, const std::string& words,
                             const std::function<void()>& action) {
    try {
      action();
      FAIL() << "it did not fail";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }
};

/// In the text encoder, whose states the others may have kept, and in the transformer.
TEST_F(SplitPicture, AFailureOfOneCardEndsTheRunAndTheNextOneWorks) {
  Pipeline pipeline = Pipeline::load(options("ascend:0,1"));
  const std::vector<Image> alone = draw("ascend:0", one());
  for (const int nth : {2, 10}) {
    fail("HcclAllReduce", nth);
    expect_refused(ErrorKind::device, "failed with 5", [&] { pipeline.generate(one()); });
    forget();
    const std::vector<Image> images = pipeline.generate(one()).images;
    ASSERT_EQ(images.size(), 1u);
    for (std::size_t i = 0; i < alone[0].rgb.size(); ++i)
      ASSERT_NEAR(images[0].rgb[i], alone[0].rgb[i], 1) << i;
  }
}

/// The memory of a card goes down with what it has; the count is that of the model of time in
/// docs/ascend.md: two sums a layer, of which a ring sends each part twice around.
TEST_F(SplitPicture, ACardHoldsItsShareAndSendsTwoSumsALayer) {
  LoadOptions whole = options("ascend:0");
  whole.device_options.erase("parallel_weights");
  Pipeline alone = Pipeline::load(whole), together = Pipeline::load(options("ascend:0,1"));
  const auto before = exchanged();
  golden::TensorMap seen;
  Request request = one();
  request.trace = &seen;
  const Result split = together.generate(request), one_card = alone.generate(one());
  for (const std::size_t stage : {0u, 1u}) {
    const StageMemory &less = split.memory[stage], &more = one_card.memory[stage];
    EXPECT_LE(less.measured_bytes, less.predicted_bytes) << less.stage;
    EXPECT_LT(less.predicted_bytes, more.predicted_bytes) << less.stage;
  }
  const Shape latents = seen.tensors.at("latents.final").shape();
  const std::int64_t text = split.prompt_tokens[0], cards = 2, number = sizeof(float);
  const std::int64_t tokens = latents[2] * latents[3] + text;
  const std::int64_t of_text = 3 * text * 64, of_steps = 2 * 3 * tokens * 128;  // layers, widths
  const std::int64_t sums = 2 * (of_text + of_steps);
  EXPECT_EQ(exchanged() - before, cards * sums * number * 2 * (cards - 1) / cards);
}

TEST_F(SplitPicture, WhatCannotBeSharedOutIsRefused) {
  expect_refused(ErrorKind::unsupported, "3 heads of the transformer",
                 [] { Pipeline::load(options("ascend:0,1", "tiny_b")); });
  expect_refused(ErrorKind::invalid_argument, "ascend:0 is one",
                 [] { Pipeline::load(options("ascend:0")); });
  LoadOptions both = options("ascend:0,1");
  both.device_options["parallel"] = "ulysses";
  expect_refused(ErrorKind::invalid_argument, "leave out --parallel ulysses",
                 [&] { Pipeline::load(both); });
  Pipeline pipeline = Pipeline::load(options("ascend:0,1"));
  Request request = one();
  request.adapters = {{"none.safetensors", 1.0, -1}};
  expect_refused(ErrorKind::unsupported, "lora merge", [&] { pipeline.generate(request); });
  request = one();
  request.on_step = [](const StepLatents&) {};
  expect_refused(ErrorKind::unsupported, "listener of steps", [&] { pipeline.generate(request); });
}

TEST_F(ReplicasOnCards, ACardThatIsNotThereIsAnError) {
  EXPECT_THROW(draw("ascend:0,7", request()), Error);
}

}  // namespace
}  // namespace ernie_image
