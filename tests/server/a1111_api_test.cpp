// What the client package does not show; tests/server/clients_test.py has that.
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>

#include "io/image_file.h"
#include "server/base64.h"
#include "server/support.h"

namespace ernie_image {
namespace {

using nlohmann::json;

TEST(A1111Api, AnswersWithInfoAsText) {
  TestServer server;
  const json response =
      post(server, "/sdapi/v1/txt2img",
           {{"prompt", "a cat"}, {"seed", 3}, {"n_iter", 2}, {"cfg_scale", 7}}, 200);
  EXPECT_EQ(response["images"].size(), 2u);
  EXPECT_EQ(response["parameters"]["n_iter"], 2);
  const json info = json::parse(response["info"].get<std::string>());
  EXPECT_EQ(info["all_seeds"], json({3, 4}));
  EXPECT_EQ(info["infotexts"][1],
            "a cat\nSteps: 4, Sampler: Euler, CFG scale: 7, Seed: 4, Size: 64x64, "
            "Model: Paint-Turbo, Version: ernie-image 0.1.0");
}

TEST(A1111Api, ReadsWordsAsTheWebUiDoes) {
  const TestServer server;
  const json answer = post(server, "/sdapi/v1/txt2img",
                           {{"prompt", "a"},
                            {"width", "64"},
                            {"steps", "2"},
                            {"seed", "7"},
                            {"enable_hr", "false"},
                            {"send_images", "off"},
                            {"batch_size", true}},
                           200);
  EXPECT_EQ(answer["images"], json::array());
  const json info = json::parse(answer["info"].get<std::string>());
  EXPECT_EQ(info["all_seeds"], json({7}));
  EXPECT_EQ(info["steps"], 2);
  post(server, "/sdapi/v1/txt2img", {{"steps", "two"}}, 400);
  post(server, "/sdapi/v1/txt2img", {{"enable_hr", "perhaps"}}, 400);
}

TEST(A1111Api, DrawsTheNearestSizeAndSaysSo) {
  const TestServer server;
  const auto info_of = [&](int width, int height) {
    const json answer = post(server, "/sdapi/v1/txt2img",
                             {{"prompt", "a"}, {"width", width}, {"height", height}}, 200);
    return json::parse(answer["info"].get<std::string>());
  };
  const json rounded = info_of(600, 3);
  EXPECT_EQ(rounded["width"], 608);
  EXPECT_EQ(rounded["height"], 16);
  EXPECT_EQ(rounded["extra_generation_params"], json({{"Requested size", "600x3"}}));
  EXPECT_EQ(info_of(64, 64)["extra_generation_params"], json::object());
  post(server, "/sdapi/v1/txt2img", {{"width", 99999}}, 400);
  post(server, "/sdapi/v1/txt2img", {{"width", -5}}, 400);
}

TEST(A1111Api, AnswersWhatItsClientsAskBesides) {
  const TestServer server;
  for (const char* list : {"sd-vae", "prompt-styles", "hypernetworks", "face-restorers"})
    EXPECT_EQ(get(server, std::string("/sdapi/v1/") + list, 200), json::array()) << list;
  EXPECT_EQ(get(server, "/sdapi/v1/latent-upscale-modes", 200)[0]["name"], "None");
  EXPECT_TRUE(get(server, "/sdapi/v1/scripts", 200)["txt2img"].is_array());
  EXPECT_EQ(get(server, "/login_check", 200), true);
  EXPECT_EQ(post(server, "/sdapi/v1/refresh-checkpoints", json::object(), 200), json());
  EXPECT_EQ(get(server, "/sdapi/v1/progress", 200)["state"]["stopping_generation"], false);
}

TEST(A1111Api, ReadsTheTextsOfEveryFormat) {
  const TestServer server;
  const std::string text = "a cat\nNegative prompt: dogs\nSteps: 8, CFG scale: 1, Size: 64x48";
  const Image image{8, 8, std::vector<std::uint8_t>(8 * 8 * 3)};
  for (const ImageFormat format : {ImageFormat::png, ImageFormat::jpeg, ImageFormat::webp}) {
    const auto bytes = encode_image(image, {format, 90}, {{"parameters", text}});
    const std::string file(bytes.begin(), bytes.end());
    const json found = post(server, "/sdapi/v1/png-info", {{"image", base64(file)}}, 200);
    EXPECT_EQ(found["info"], text);
    EXPECT_EQ(found["parameters"], json({{"Prompt", "a cat"},
                                         {"Negative prompt", "dogs"},
                                         {"Steps", "8"},
                                         {"CFG scale", "1"},
                                         {"Size-1", "64"},
                                         {"Size-2", "48"}}));
  }
}

/// A server with the LoRAs of a folder.
class ServerWithLoras : public ::testing::Test {
 protected:
  ServerWithLoras() {
    const std::string source = std::string(ERNIE_IMAGE_TEST_DATA) + "/formats/lora/";
    std::filesystem::create_directories(folder_);
    const auto options = std::filesystem::copy_options::overwrite_existing;
    std::filesystem::copy_file(source + "kohya/ot_lora.safetensors", folder_ + "/style.safetensors",
                               options);
    std::filesystem::copy_file(source + "aitoolkit/aitk.safetensors",
                               folder_ + "/a face.safetensors", options);
  }
  ~ServerWithLoras() override { std::filesystem::remove_all(folder_); }

  TestServerOptions options() const {
    TestServerOptions options;
    options.service.limits.lora_directory = folder_;
    return options;
  }

  std::string folder_ = ::testing::TempDir() + "/loras-" + std::to_string(::getpid());
};

TEST_F(ServerWithLoras, ListsNamesAndNoPaths) {
  const TestServer server(options());
  const json loras = get(server, "/sdapi/v1/loras", 200);
  ASSERT_EQ(loras.size(), 2u);
  EXPECT_EQ(loras[0]["name"], "a face");
  EXPECT_EQ(loras[1]["alias"], "style");
  EXPECT_EQ(loras[1]["path"], "style.safetensors");
  EXPECT_EQ(loras[1]["metadata"], json::object());
  const TestServer without;
  EXPECT_EQ(get(without, "/sdapi/v1/loras", 200), json::array());
}

TEST_F(ServerWithLoras, TakesTagsOutOfThePromptInEveryApi) {
  const TestServer server(options());
  const json answer = post(
      server, "/sdapi/v1/txt2img",
      {{"prompt", "a cat <lora:style:0.8>"}, {"seed", 3}, {"loras", {{{"name", "a face"}}}}}, 200);
  const json info = json::parse(answer["info"].get<std::string>());
  EXPECT_EQ(info["prompt"], "a cat");
  EXPECT_EQ(info["infotexts"][0].get<std::string>().find(
                "a cat <lora:a face:1> <lora:style:0.8>\nSteps: 4"),
            0u);
  const json job = post(server, "/v1/jobs", {{"prompt", "x <lora:style:-2>"}}, 202);
  EXPECT_EQ(job["request"]["prompt"], "x");
  EXPECT_EQ(job["request"]["loras"], json({{{"name", "style"}, {"strength", -2.0}}}));
  post(server, "/v1/images/generations",
       {{"prompt", "x"}, {"loras", {{{"name", "style"}, {"strength", 0.5}}}}}, 200);
}

TEST_F(ServerWithLoras, KnowsNamesInItsFolderAlone) {
  const TestServer server(options());
  std::filesystem::copy_file(folder_ + "/style.safetensors", folder_ + "-outside.safetensors");
  const std::string outside = folder_.substr(folder_.rfind('/') + 1) + "-outside";
  for (const json& name : {json("none"), json("../" + outside), json(folder_ + "/style"), json(""),
                           json("./style"), json("style/"), json(".."), json(3), json("s\0")}) {
    const json body = {{"prompt", "x"}, {"loras", {{{"name", name}}}}};
    const json error = post(server, "/v1/jobs", body, 400)["error"];
    EXPECT_EQ(error["message"].get<std::string>().find(folder_), std::string::npos) << error;
  }
  std::filesystem::remove(folder_ + "-outside.safetensors");
  post(server, "/v1/jobs", {{"prompt", "x <lora:../" + outside + ">"}}, 400);
  post(server, "/v1/jobs", {{"prompt", "x"}, {"loras", "style"}}, 400);
  post(server, "/v1/jobs", {{"prompt", "x"}, {"loras", {{{"name", "style"}, {"weight", 1}}}}}, 400);
  post(server, "/v1/jobs", {{"prompt", "x"}, {"loras", {{{"name", "style"}, {"strength", 101}}}}},
       400);
  post(server, "/v1/jobs", {{"prompt", "x"}, {"loras", std::vector<json>(17, {{"name", "style"}})}},
       400);
  const TestServer without;
  post(without, "/v1/jobs", {{"prompt", "x <lora:style>"}}, 400);
}

TEST(A1111Api, DrawsLargerAndVaries) {
  TestServer server;
  const auto asked = [&](json body) {
    body["prompt"] = "a cat";
    const json answer = post(server, "/sdapi/v1/txt2img", body, 200);
    const json info = json::parse(answer["info"].get<std::string>());
    return std::pair(server.queue().list({.owner = ""}).at(0).request,
                     info["infotexts"][0].get<std::string>());
  };
  // Clients send all of these in any case.
  json usual = {{"enable_hr", false},
                {"hr_scale", 2},
                {"hr_resize_x", 0},
                {"hr_resize_y", 0},
                {"hr_second_pass_steps", 0},
                {"denoising_strength", 0},
                {"subseed", -1},
                {"subseed_strength", 0}};
  EXPECT_FALSE(wants_hires(asked(usual).first));
  EXPECT_TRUE(asked(usual).first.variation_seeds.empty());
  usual.update({{"enable_hr", true}, {"denoising_strength", 0.5}, {"hr_second_pass_steps", 3}});
  const auto [scaled, text] = asked(usual);
  EXPECT_EQ(scaled.hires_scale, 2.0);
  EXPECT_EQ(scaled.hires_strength, 0.5);
  EXPECT_EQ(scaled.hires_steps, 3);
  EXPECT_NE(text.find(", Denoising strength: 0.5, Hires upscale: 2,"), std::string::npos) << text;
  usual.update({{"hr_resize_x", 128}, {"hr_resize_y", 96}});
  EXPECT_EQ(asked(usual).first.hires_height_px, 96);
  const auto [varied, words] =
      asked({{"seed", 5}, {"subseed", 9}, {"subseed_strength", 0.1}, {"batch_size", 2}});
  EXPECT_EQ(varied.seeds, (std::vector<std::uint64_t>{5, 5}));
  EXPECT_EQ(varied.variation_seeds, (std::vector<std::uint64_t>{9, 10}));
  EXPECT_NE(words.find(", Variation seed: 9, Variation seed strength: 0.1,"), std::string::npos);
}

TEST(A1111Api, RefusesWhatTheModelCannotDo) {
  const TestServer server;
  const auto param_of = [&](const json& body) {
    return post(server, "/sdapi/v1/txt2img", body, 400)["error"]["param"];
  };
  EXPECT_EQ(param_of({{"enable_hr", true}, {"hr_scale", 0.5}}), "hr_scale");
  EXPECT_EQ(param_of({{"script_name", "x/y"}}), "script_name");
  EXPECT_EQ(param_of({{"init_images", {"x"}}}), "init_images");
  EXPECT_EQ(param_of({{"batch_size", 5}, {"n_iter", 5}}), "n_iter");
  EXPECT_EQ(param_of({{"steps", -1}}), "steps");
  post(server, "/sdapi/v1/txt2img", {{"override_settings", {{"sd_model_checkpoint", "other"}}}},
       404);
  post(server, "/sdapi/v1/txt2img", {{"override_settings", {{"sd_model_checkpoint", 1}}}}, 400);
  post(server, "/sdapi/v1/txt2img", {{"override_settings", "x"}}, 200);
}

TEST(A1111Api, ShowsAndInterruptsWhatIsUnderWay) {
  TestServerOptions options;
  options.step_time = std::chrono::milliseconds(50);
  TestServer server(options);
  EXPECT_EQ(get(server, "/sdapi/v1/progress", 200)["progress"], 0.0);
  get(server, "/sdapi/v1/progress?skip_current_image=on", 200);
  get(server, "/sdapi/v1/progress?skip_current_image=null", 400);
  json response;
  std::thread asker([&] {
    response = post(server, "/sdapi/v1/txt2img", {{"prompt", "a"}, {"steps", 200}}, 200);
  });
  json progress;
  do {
    progress = get(server, "/sdapi/v1/progress", 200);
  } while (progress["state"]["sampling_step"] == 0);
  EXPECT_EQ(progress["current_image"], base64("jpeg"));
  EXPECT_EQ(get(server, "/sdapi/v1/progress?skip_current_image=true", 200)["current_image"],
            nullptr);
  post(server, "/sdapi/v1/interrupt", json::object(), 200);
  asker.join();
  EXPECT_EQ(response["images"], json::array());
}

TEST(A1111Api, ReadsWhatAPictureSaysOfItself) {
  TestServer server;
  const json made = post(server, "/sdapi/v1/txt2img", {{"prompt", "a"}, {"seed", 9}}, 200);
  const std::string png = made["images"][0];
  const auto info = [&](const std::string& image, int status) {
    return post(server, "/sdapi/v1/png-info", {{"image", image}}, status);
  };
  EXPECT_EQ(info(png, 200)["info"], "seed 9");
  EXPECT_EQ(info("data:image/png;base64," + png, 200)["info"], "seed 9");
  for (const std::string& image :
       {std::string(), std::string("x"), base64("not a PNG"), png.substr(0, 40), "data:" + png}) {
    info(image, 400);
  }
  post(server, "/sdapi/v1/png-info", json::object(), 400);
  post(server, "/sdapi/v1/png-info", {{"image", 1}}, 400);
}

TEST(A1111Api, RemembersTheModelForTheKey) {
  const TestServer server;
  post(server, "/sdapi/v1/options", {{"sd_model_checkpoint", "paint-turbo"}, {"other", 1}}, 200);
  EXPECT_EQ(get(server, "/sdapi/v1/options", 200)["sd_model_checkpoint"], "Paint-Turbo");
  post(server, "/sdapi/v1/options", {{"sd_model_checkpoint", "other"}}, 404);
  for (const char* path : {"sd-models", "samplers", "schedulers", "upscalers", "loras"}) {
    EXPECT_TRUE(get(server, std::string("/sdapi/v1/") + path, 200).is_array()) << path;
  }
}

}  // namespace
}  // namespace ernie_image
