// Pictures as input of the three APIs, up to what a worker gets.
#include "server/picture_upload.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "io/image_file.h"
#include "io/picture_reader.h"
#include "server/base64.h"
#include "server/support.h"

namespace ernie_image {
namespace {

using nlohmann::json;

std::string png_of(const Image& image) {
  const std::vector<std::uint8_t> bytes = encode_image(image, {ImageFormat::png, 100}, {});
  return {bytes.begin(), bytes.end()};
}

Image slopes(int width, int height) {
  Image image{width, height, {}};
  for (int i = 0; i < width * height; ++i) {
    const std::uint8_t pixel[] = {static_cast<std::uint8_t>(i % width * 5),
                                  static_cast<std::uint8_t>(i / width * 7), 90};
    image.rgb.insert(image.rgb.end(), std::begin(pixel), std::end(pixel));
  }
  return image;
}

Image white_right_half(int width, int height) {
  Image image{width, height, {}};
  for (int i = 0; i < width * height; ++i)
    image.rgb.insert(image.rgb.end(), 3,
                     i % width < width / 2 ? std::uint8_t{0} : std::uint8_t{255});
  return image;
}

std::span<const std::byte> bytes_of(const Bytes& bytes) { return std::as_bytes(std::span(bytes)); }

class UploadTest : public ::testing::Test {
 protected:
  UploadTest() : server_(without_worker()) {
    server_.queue().announce(PaintingWorker::info());  // that one lives, though it claims nothing
  }

  static TestServerOptions without_worker() {
    TestServerOptions options;
    options.has_worker = false;
    return options;
  }

  /// The job that the jobs API makes of these fields.
  Job submitted(const json& fields) {
    const json view = post(server_, "/v1/jobs", fields, 202);
    return server_.queue().find(view.value("id", "")).value_or(Job{});
  }
  std::string refused(const json& fields) {
    return post(server_, "/v1/jobs", fields, 400)["error"].value("param", "");
  }

  const std::string picture_ = png_of(slopes(48, 32));
  const std::string mask_ = png_of(white_right_half(48, 32));
  TestServer server_;
};

TEST_F(UploadTest, APictureReachesTheWorkerWithItsSize) {
  const Job job = submitted({{"prompt", "a cat"}, {"image", base64(picture_)}, {"strength", 0.4}});
  EXPECT_EQ(job.request.width_px, 48);
  EXPECT_EQ(job.request.height_px, 32);
  EXPECT_EQ(job.request.picture.strength, 0.4);
  EXPECT_FALSE(job.request.enhance);
  EXPECT_TRUE(job.request.picture.image.rgb.empty());
  EXPECT_EQ(job.request.picture_use.sha256, picture_hash(slopes(48, 32)));
  const JobInputs inputs = server_.queue().inputs(job.id);
  EXPECT_EQ(read_picture(bytes_of(inputs.image), "a").rgb, slopes(48, 32).rgb);
  EXPECT_TRUE(inputs.mask.empty());
}

TEST_F(UploadTest, APictureIsScaledToTheSizeThatIsAskedFor) {
  const Job job = submitted({{"prompt", "a cat"},
                             {"image", "data:image/png;base64," + base64(picture_)},
                             {"mask", base64(mask_)},
                             {"size", "64x64"},
                             {"resize", "stretch"},
                             {"mask_blur", 2},
                             {"invert_mask", true},
                             {"strength_mode", "exact"}});
  EXPECT_EQ(job.request.picture.strength_mode, StrengthMode::exact);
  EXPECT_EQ(job.request.picture_use.handling.fit, Fit::stretch);
  const JobInputs inputs = server_.queue().inputs(job.id);
  EXPECT_EQ(read_picture(bytes_of(inputs.image), "a").rgb,
            resized(slopes(48, 32), 64, 64, Fit::stretch).rgb);
  const Mask mask = read_mask(bytes_of(inputs.mask), "a");
  EXPECT_EQ(mask.values.front(), 255);  // inverted
  EXPECT_EQ(mask.values.back(), 0);
  EXPECT_TRUE(
      std::ranges::any_of(mask.values, [](int value) { return value > 50 && value < 200; }));
  EXPECT_EQ(job.request.picture_use.mask_sha256.size(), 64u);
}

TEST_F(UploadTest, APictureIsExtendedAndDrawnInParts) {
  const Job extended =
      submitted({{"prompt", "a cat"}, {"image", base64(picture_)}, {"outpaint", {0, 16, 16, 0}}});
  EXPECT_EQ(extended.request.width_px, 64);
  EXPECT_EQ(extended.request.height_px, 48);
  const Mask mask = read_mask(bytes_of(server_.queue().inputs(extended.id).mask), "a");
  EXPECT_EQ(mask.values.front(), 255);  // above
  EXPECT_EQ(mask.values[47 * 64], 0);   // what was there
  const Job part = submitted({{"prompt", "a cat"},
                              {"image", base64(picture_)},
                              {"mask", base64(mask_)},
                              {"inpaint_area", "masked"},
                              {"padding", 4},
                              {"size", "32x32"}});
  EXPECT_EQ(part.request.width_px, 32);
  EXPECT_EQ(part.request.picture_use.handling.area_padding_px, 4);
  const JobInputs inputs = server_.queue().inputs(part.id);
  EXPECT_EQ(read_picture(bytes_of(inputs.image), "a").rgb, slopes(48, 32).rgb);
}

TEST_F(UploadTest, WhatAJobBeginsWithIsForgottenWithItsEnd) {
  const Job job = submitted({{"prompt", "a cat"}, {"image", base64(picture_)}});
  EXPECT_FALSE(server_.queue().inputs(job.id).image.empty());
  server_.queue().cancel(job.id);
  EXPECT_TRUE(server_.queue().inputs(job.id).image.empty());
}

TEST_F(UploadTest, WrongPicturesAreRefusedByName) {
  const json good = {{"prompt", "a cat"}, {"image", base64(picture_)}};
  const auto with = [&](const json& more) {
    json fields = good;
    fields.update(more);
    return refused(fields);
  };
  EXPECT_EQ(with({{"image", "x"}}), "image");
  EXPECT_EQ(with({{"image", 1}}), "image");
  EXPECT_EQ(with({{"image", base64("no picture")}}), "image");
  EXPECT_EQ(with({{"image", "https://example.org/a.png"}}), "image");
  EXPECT_EQ(with({{"image", {base64(picture_), base64(picture_)}}}), "image");
  EXPECT_EQ(with({{"images", {base64(picture_)}}}), "images");
  EXPECT_EQ(with({{"image", base64(picture_.substr(0, picture_.size() / 2))}}), "image");
  EXPECT_EQ(with({{"mask", base64(png_of(white_right_half(32, 48)))}}), "mask");
  EXPECT_EQ(with({{"strength", 0}}), "strength");
  EXPECT_EQ(with({{"strength", 1.5}}), "strength");
  EXPECT_EQ(with({{"strength_mode", "other"}}), "strength_mode");
  EXPECT_EQ(with({{"resize", "other"}}), "resize");
  EXPECT_EQ(with({{"mask_blur", -1}}), "mask_blur");
  EXPECT_EQ(with({{"kind", "enhance"}}), "image");
  EXPECT_EQ(with({{"fill", "other"}}), "fill");
  EXPECT_EQ(with({{"inpaint_area", "masked"}}), "mask");
  EXPECT_EQ(with({{"outpaint", {1, 2, 3}}}), "outpaint");
  EXPECT_EQ(with({{"outpaint", {0, 0, 0, -1}}}), "outpaint");
  EXPECT_EQ(with({{"outpaint", {8000, 8000, 0, 0}}, {"size", "64x64"}}), "outpaint");
  EXPECT_EQ(refused({{"prompt", "a cat"}, {"strength", 0.5}}), "strength");
  EXPECT_EQ(refused({{"prompt", "a cat"}, {"mask", base64(mask_)}}), "mask");
}

/// Its header is looked at before anything is decoded.
TEST_F(UploadTest, APictureOfTooManyPixelsIsRefused) {
  Image large{5000, 4000, {}};
  large.rgb.resize(3u * 5000 * 4000);
  const json error = post(server_, "/v1/jobs",
                          {{"prompt", "a cat"}, {"image", base64(png_of(large))}}, 400)["error"];
  EXPECT_EQ(error["param"], "image");
  EXPECT_NE(error["message"].get<std::string>().find("5000x4000"), std::string::npos) << error;
}

TEST_F(UploadTest, AnotherPictureIsAnotherRequest) {
  const httplib::Headers key = {{"Idempotency-Key", "k"}};
  const json first = {{"prompt", "a cat"}, {"seed", 1}, {"image", base64(picture_)}};
  json second = first;
  second["image"] = base64(png_of(slopes(32, 48)));
  second["size"] = "48x32";
  const json id = post(server_, "/v1/jobs", first, 202, key)["id"];
  EXPECT_EQ(post(server_, "/v1/jobs", first, 202, key)["id"], id);
  post(server_, "/v1/jobs", second, 409, key);
  EXPECT_FALSE(server_.queue().inputs(id).image.empty());
}

TEST(UploadLimits, AnInputCountsAsAPicture) {
  TestServerOptions options;
  options.keys = "cat:0123456789abcdef:9:0.0082\n";  // two of 64x64
  options.has_worker = false;
  TestServer server(options);
  server.queue().announce(PaintingWorker::info());
  const httplib::Headers cat = {{"Authorization", "Bearer 0123456789abcdef"}};
  const json body = {{"prompt", "a"}, {"image", base64(png_of(slopes(64, 64)))}};
  post(server, "/v1/jobs", body, 202, cat);
  EXPECT_EQ(post(server, "/v1/jobs", {{"prompt", "a"}}, 429, cat)["error"]["code"],
            "rate_limit_exceeded");
}

/// A small file may hold many pixels.
TEST(UploadLimits, PixelsShareTheMemoryOfRequests) {
  TestServerOptions options;
  options.service.request_memory_bytes = 8 << 20;
  TestServer server(options);
  Image large{1400, 1000, std::vector<std::uint8_t>(3 * 1400 * 1000, 200)};
  const json body = {{"prompt", "a"}, {"image", base64(png_of(large))}, {"size", "64x64"}};
  ASSERT_LT(body.dump().size(), 64u << 10);
  const auto other = server.service().memory().share("other");
  other->take(1 << 20);
  EXPECT_EQ(post(server, "/v1/jobs", body, 503)["error"]["code"], "overloaded");
  other->set(0);
  post(server, "/v1/jobs", body, 202);
}

/// What was uploaded is not held while its job waits.
TEST(UploadLimits, AWaitingRequestHoldsNoUpload) {
  TestServerOptions options;
  options.has_worker = false;
  TestServer server(options);
  server.queue().announce(PaintingWorker::info());
  Image noisy{300, 300, {}};
  std::uint32_t state = 1;
  for (int i = 0; i < 3 * 300 * 300; ++i) {
    state = state * 1664525 + 1013904223;
    noisy.rgb.push_back(static_cast<std::uint8_t>(state >> 24));
  }
  const std::string picture = base64(png_of(noisy));
  for (const std::string path : {"/v1/images/edits", "/sdapi/v1/img2img"}) {
    const json body = {{"prompt", "a"},
                       {path == "/v1/images/edits" ? "image" : "init_images",
                        path == "/v1/images/edits" ? json(picture) : json::array({picture})}};
    std::thread client([&] { server.client().Post(path, body.dump(), "application/json"); });
    std::vector<Job> jobs;
    const auto deadline = std::chrono::steady_clock::now() + kJobPatience;
    while ((jobs.empty() || server.service().memory().used_bytes() > 0) &&
           std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      jobs = server.queue().list({.state = JobState::queued});
    }
    EXPECT_EQ(server.service().memory().used_bytes(), 0u) << path;
    ASSERT_EQ(jobs.size(), 1u);
    server.queue().cancel(jobs.front().id);
    client.join();
  }
}

// ---- the other APIs, with a worker

httplib::MultipartFormDataItems edit_form(const std::string& picture) {
  return {{"image", picture, "in.png", "image/png"},
          {"prompt", "a cat", "", ""},
          {"n", "2", "", ""},
          {"seed", "5", "", ""}};
}

TEST(OpenAiEdits, AreAskedForWithAForm) {
  TestServer server;
  auto form = edit_form(png_of(slopes(48, 32)));
  form.push_back({"mask", png_of(white_right_half(48, 32)), "mask.png", "image/png"});
  form.push_back({"response_format", "b64_json", "", ""});
  const auto result = server.client().Post("/v1/images/edits", form);
  ASSERT_TRUE(result);
  ASSERT_EQ(result->status, 200) << result->body;
  const json response = json::parse(result->body);
  EXPECT_EQ(response["data"].size(), 2u);
  EXPECT_EQ(response["data"][1]["seed"], 6);
  EXPECT_EQ(response["size"], "48x32");
  EXPECT_EQ(response["usage"]["input_tokens_details"]["image_tokens"], 3 * 2);
  const Job job = server.queue().find(response["id"]).value();
  EXPECT_EQ(job.request.picture.strength, 1);  // with a mask
  EXPECT_FALSE(job.request.picture_use.mask_sha256.empty());
}

TEST(OpenAiEdits, TakeJsonAndListsOfOne) {
  TestServer server;
  const std::string url = "data:image/png;base64," + base64(png_of(slopes(48, 32)));
  for (const json& image :
       {json{{"image", url}}, json{{"image", {url}}}, json{{"images", {{{"image_url", url}}}}}}) {
    json body = {{"prompt", "a cat"}, {"strength", 0.5}, {"input_fidelity", "high"}};
    body.update(image);
    const json response = post(server, "/v1/images/edits", body, 200);
    EXPECT_EQ(server.queue().find(response["id"])->request.picture.strength, 0.5);
  }
  EXPECT_EQ(post(server, "/v1/images/variations", {{"image", url}}, 200)["data"].size(), 1u);
  EXPECT_EQ(post(server, "/v1/images/edits", {{"image", url}}, 400)["error"]["param"], "prompt");
  EXPECT_EQ(post(server, "/v1/images/edits", {{"prompt", "a"}}, 400)["error"]["param"], "image");
  post(server, "/v1/images/generations", {{"prompt", "a"}, {"image", url}}, 400);
}

TEST(OpenAiEdits, StreamEventsOfTheirOwn) {
  TestServerOptions options;
  options.step_time = std::chrono::milliseconds(200);  // a finished job has no preview to show
  TestServer server(options);
  auto form = edit_form(png_of(slopes(48, 32)));
  form.push_back({"stream", "true", "", ""});
  form.push_back({"partial_images", "1", "", ""});
  const auto result = server.client().Post("/v1/images/edits", form);
  ASSERT_TRUE(result);
  EXPECT_NE(result->body.find("event: image_edit.partial_image"), std::string::npos);
  EXPECT_NE(result->body.find("event: image_edit.completed"), std::string::npos);
  EXPECT_EQ(result->body.find("image_generation"), std::string::npos);
}

TEST(OpenAiEdits, RefuseFormsThatAreWrong) {
  TestServer server;
  const std::string picture = png_of(slopes(48, 32));
  const auto param_of = [&](const httplib::MultipartFormData& more) {
    auto form = edit_form(picture);
    form.push_back(more);
    const auto result = server.client().Post("/v1/images/edits", form);
    EXPECT_TRUE(result);
    if (!result) return json();
    EXPECT_EQ(result->status, 400) << result->body;
    return json::parse(result->body)["error"]["param"];
  };
  EXPECT_EQ(param_of({"image[]", picture, "b.png", "image/png"}), "image");
  EXPECT_EQ(param_of({"mask", "", "b.png", "image/png"}), "mask");
  EXPECT_EQ(param_of({"prompt", "another", "", ""}), "prompt");
  EXPECT_EQ(param_of({"other", "x", "", ""}), "other");
  EXPECT_EQ(param_of({"file", "x", "x.bin", ""}), "file");
  EXPECT_EQ(param_of({"strength", "much", "", ""}), "strength");
  EXPECT_EQ(param_of({"negative_prompt", "\xff", "", ""}), "negative_prompt");
  // Forms are for these routes only.
  const auto result = server.client().Post("/v1/images/generations", edit_form(picture));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status, 415);
  const auto broken =
      server.client().Post("/v1/images/edits", "--x\r\n", "multipart/form-data; boundary=x");
  ASSERT_TRUE(broken);
  EXPECT_EQ(broken->status, 400);
}

TEST(A1111Img2Img, DrawsFromAPicture) {
  TestServer server;
  const std::string picture = base64(png_of(slopes(48, 32)));
  const json body = {{"prompt", "a cat"},
                     {"init_images", {"data:image/png;base64," + picture}},
                     {"mask", base64(png_of(white_right_half(48, 32)))},
                     {"denoising_strength", 1},
                     {"inpainting_mask_invert", 1},
                     {"inpaint_full_res", true},
                     {"inpaint_full_res_padding", 8},
                     {"inpainting_fill", 0},
                     {"resize_mode", 1},
                     {"width", 64},
                     {"height", 32},
                     {"steps", 4},
                     {"seed", 3}};
  const json response = post(server, "/sdapi/v1/img2img", body, 200);
  EXPECT_EQ(response["images"].size(), 1u);
  EXPECT_FALSE(response["parameters"].contains("init_images"));
  EXPECT_FALSE(response["parameters"].contains("mask"));
  const json info = json::parse(response["info"].get<std::string>());
  EXPECT_EQ(info["denoising_strength"], 1.0);
  EXPECT_NE(info["infotexts"][0].get<std::string>().find("Denoising strength: 1, Mask blur: 4"),
            std::string::npos);
  const json jobs = get(server, "/v1/jobs", 200)["data"];
  const json image = jobs.at(0)["request"]["image"];
  EXPECT_EQ(image["strength_mode"], "a1111");
  EXPECT_EQ(image["resize"], "crop");
  EXPECT_EQ(image["mask"]["blur"], 4.0);
  EXPECT_EQ(image["mask"]["inverted"], true);
  EXPECT_EQ(image["mask"]["fill"], "edge");
  EXPECT_EQ(image["mask"]["area_padding"], 8);
}

TEST(A1111Img2Img, RefusesWhatItCannotDo) {
  const TestServer server;
  const std::string picture = base64(png_of(slopes(48, 32)));
  const auto param_of = [&](const json& more) {
    json body = {{"prompt", "a cat"}, {"init_images", {picture}}, {"mask", picture}};
    body.update(more);
    return post(server, "/sdapi/v1/img2img", body, 400)["error"]["param"];
  };
  EXPECT_EQ(param_of({{"init_images", nullptr}}), "init_images");
  EXPECT_EQ(param_of({{"init_images", json::array()}}), "init_images");
  EXPECT_EQ(param_of({{"init_images", {"x"}}}), "init_images");
  EXPECT_EQ(param_of({{"mask", "x"}}), "mask");
  EXPECT_EQ(param_of({{"denoising_strength", 0}}), "denoising_strength");
  EXPECT_EQ(param_of({{"resize_mode", 3}}), "resize_mode");
  EXPECT_EQ(param_of({{"inpainting_fill", 3}}), "inpainting_fill");
  EXPECT_EQ(param_of({{"inpaint_full_res", true}, {"inpaint_full_res_padding", -1}}),
            "inpaint_full_res_padding");
  EXPECT_EQ(post(server, "/sdapi/v1/txt2img", {{"init_images", {picture}}}, 400)["error"]["param"],
            "init_images");
}

}  // namespace
}  // namespace ernie_image
