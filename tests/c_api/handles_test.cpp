// Structs, handles, threads and processes: what the C API promises whoever calls it.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "c_api_fixture.h"
#include "ernie_image/c.h"

using namespace c_api_test;

namespace {

TEST(CApi, KnowsStructsOfOlderAndNewerCallers) {
  SmallRequest request;
  const auto drawn = pixels_drawn(request.c);
  // An older caller has no latents, adapters or callbacks, and other things behind its struct.
  ernie_image_request old = request.c;
  old.struct_size = offsetof(ernie_image_request, latents);
  old.latent_count = 7;
  EXPECT_EQ(pixels_drawn(old), drawn);

  struct {
    ernie_image_request known;
    std::uint64_t further;
  } newer = {request.c, 0};
  newer.known.struct_size = sizeof newer;
  EXPECT_EQ(pixels_drawn(newer.known), drawn);
  newer.further = 1;
  expect_refused(newer.known, ERNIE_IMAGE_UNSUPPORTED, "does not know");
  old.struct_size = offsetof(ernie_image_request, latents) + 4;  // in the midst of a pointer
  expect_refused(old, ERNIE_IMAGE_INVALID_ARGUMENT, "set it to sizeof");
  old.struct_size = 0;
  expect_refused(old, ERNIE_IMAGE_INVALID_ARGUMENT, "struct_size of the request is 0");

  ernie_image_model_info info = {};
  info.struct_size = offsetof(ernie_image_model_info, content_hash);
  info.default_height_px = -7;
  ASSERT_EQ(ernie_image_pipeline_info(embedded(), &info, nullptr), ERNIE_IMAGE_OK);
  EXPECT_NE(info.name, nullptr);
  EXPECT_EQ(info.default_height_px, -7);
}

TEST(CApi, HandlesThatWereFreedAreRefused) {
  ernie_image_load_options options = {};
  options.struct_size = sizeof options;
  options.model = "embedded:emoji-tiny";
  options.num_threads = 1;
  ernie_image_pipeline* const pipeline = ernie_image_load(&options, nullptr);
  ASSERT_NE(pipeline, nullptr);
  ernie_image_pipeline_free(pipeline);
  ernie_image_pipeline_free(pipeline);
  ernie_image_pipeline_free(nullptr);
  SmallRequest request;
  Said said;
  EXPECT_EQ(ernie_image_generate(pipeline, &request.c, &said.error), nullptr);
  EXPECT_EQ(said.status(), ERNIE_IMAGE_INVALID_ARGUMENT);
  EXPECT_NE(said.message().find("the pipeline was freed"), std::string::npos) << said.message();
  EXPECT_EQ(ernie_image_cancel(pipeline, nullptr), ERNIE_IMAGE_INVALID_ARGUMENT);
  EXPECT_EQ(ernie_image_result_count(nullptr), 0u);

  ernie_image_result* const result = ernie_image_generate(embedded(), &request.c, nullptr);
  ernie_image_result_free(result);
  EXPECT_EQ(ernie_image_result_count(result), 0u);
  EXPECT_STREQ(ernie_image_result_json(result), "{}");
  // That of a pipeline is no result.
  Said other;
  ernie_image_image image = {sizeof image, 0, 0, nullptr};
  EXPECT_EQ(ernie_image_result_image(reinterpret_cast<ernie_image_result*>(embedded()), 0, &image,
                                     &other.error),
            ERNIE_IMAGE_INVALID_ARGUMENT);
  EXPECT_NE(other.message().find("something else"), std::string::npos) << other.message();
}

TEST(CApi, NullIsRefusedWhereSomethingIsNeeded) {
  const auto refused = [](ernie_image_status status) {
    EXPECT_EQ(status, ERNIE_IMAGE_INVALID_ARGUMENT);
  };
  SmallRequest request;
  EXPECT_EQ(ernie_image_generate(nullptr, &request.c, nullptr), nullptr);
  EXPECT_EQ(ernie_image_generate(embedded(), nullptr, nullptr), nullptr);
  refused(ernie_image_check(embedded(), nullptr, nullptr));
  refused(ernie_image_pipeline_info(embedded(), nullptr, nullptr));
  EXPECT_EQ(ernie_image_enhance(embedded(), nullptr, 0, 0, nullptr, nullptr), nullptr);
  EXPECT_EQ(ernie_image_decode(embedded(), nullptr, 64, 16, 16, nullptr), nullptr);
  EXPECT_EQ(ernie_image_encode(embedded(), nullptr, nullptr), nullptr);
  refused(ernie_image_result_save(nullptr, 0, "x.png", nullptr));
  EXPECT_EQ(ernie_image_read_image(nullptr, nullptr), nullptr);
  EXPECT_EQ(ernie_image_read_text(nullptr, "a", nullptr), nullptr);
  refused(ernie_image_compare(nullptr, nullptr, nullptr, nullptr));
  refused(ernie_image_quantize(nullptr, nullptr));
  EXPECT_EQ(ernie_image_tokenizer_encode(nullptr, "a", nullptr, 0, nullptr), -1);
  EXPECT_STREQ(ernie_image_text_get(nullptr), "");
  EXPECT_STREQ(ernie_image_error_message(nullptr), "");
  EXPECT_STREQ(ernie_image_status_name(-3), "unknown");
}

/// Lets a run wait in its first callback until the test has done what it wants meanwhile.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_reached = false, is_open = false;

  static std::int32_t wait(void* user_data, const ernie_image_progress*) {
    auto& gate = *static_cast<Gate*>(user_data);
    std::unique_lock lock(gate.mutex);
    gate.is_reached = true;
    gate.changed.notify_all();
    gate.changed.wait(lock, [&] { return gate.is_open; });
    return 0;
  }
  void await() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return is_reached; });
  }
  void open() {
    const std::lock_guard lock(mutex);
    is_open = true;
    changed.notify_all();
  }
};

TEST(CApi, APipelineAtWorkRefusesASecondCallAndCanBeCancelled) {
  Gate gate;
  SmallRequest request;
  request.c.on_progress = Gate::wait;
  request.c.user_data = &gate;
  ernie_image_status first = ERNIE_IMAGE_OK;
  std::thread other([&] {
    Said said;
    ernie_image_result_free(ernie_image_generate(embedded(), &request.c, &said.error));
    first = said.status();
  });
  gate.await();
  SmallRequest second;
  Said busy;
  EXPECT_EQ(ernie_image_generate(embedded(), &second.c, &busy.error), nullptr);
  EXPECT_EQ(busy.status(), ERNIE_IMAGE_BUSY) << busy.message();
  EXPECT_EQ(ernie_image_cancel(embedded(), nullptr), ERNIE_IMAGE_OK);
  gate.open();
  other.join();
  EXPECT_EQ(first, ERNIE_IMAGE_CANCELLED);
  EXPECT_FALSE(pixels_drawn(second.c).empty());
}

TEST(CApi, DecodingAndEncodingCanBeCancelled) {
  constexpr int kSide = 1024;  // takes a while
  const std::vector<float> latents(64 * (kSide / 16) * (kSide / 16));
  const std::vector<std::uint8_t> pixels(3 * kSide * kSide);
  const ernie_image_image image = {sizeof image, kSide, kSide, pixels.data()};
  for (const bool decodes : {true, false}) {
    std::atomic<bool> is_done{false};
    ernie_image_status status = ERNIE_IMAGE_OK;
    std::thread other([&] {
      Said said;
      ernie_image_result_free(decodes
                                  ? ernie_image_decode(embedded(), latents.data(), latents.size(),
                                                       kSide, kSide, &said.error)
                                  : ernie_image_encode(embedded(), &image, &said.error));
      status = said.status();
      is_done = true;
    });
    while (!is_done) {
      ernie_image_cancel(embedded(), nullptr);
      std::this_thread::yield();
    }
    other.join();
    EXPECT_EQ(status, ERNIE_IMAGE_CANCELLED) << decodes;
  }
}

TEST(CApi, FreeingAPipelineAtWorkEndsTheWork) {
  ernie_image_load_options options = {};
  options.struct_size = sizeof options;
  options.model = "embedded:emoji-tiny";
  options.num_threads = 1;
  ernie_image_pipeline* const pipeline = ernie_image_load(&options, nullptr);
  Gate gate;
  SmallRequest request;
  request.c.on_progress = Gate::wait;
  request.c.user_data = &gate;
  ernie_image_status status = ERNIE_IMAGE_OK;
  std::thread other([&] {
    Said said;
    ernie_image_result_free(ernie_image_generate(pipeline, &request.c, &said.error));
    status = said.status();
  });
  gate.await();
  ernie_image_pipeline_free(pipeline);
  gate.open();
  other.join();
  EXPECT_EQ(status, ERNIE_IMAGE_CANCELLED);
}

TEST(CApi, AForkedChildIsToldAndLivesOn) {
  embedded();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    SmallRequest request;
    ernie_image_error* error = nullptr;
    ernie_image_result* const result = ernie_image_generate(embedded(), &request.c, &error);
    const bool told = result == nullptr &&
                      ernie_image_error_status(error) == ERNIE_IMAGE_UNSUPPORTED &&
                      std::strstr(ernie_image_error_message(error), "forked") != nullptr;
    ernie_image_pipeline_free(embedded());
    _exit(told ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
