// What the official client does not show; tests/server/clients_test.py has that.
#include <gtest/gtest.h>

#include "server/base64.h"
#include "server/support.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr const char* kPath = "/v1/images/generations";

TEST(OpenAiApi, AnswersWithPictureAndUsage) {
  TestServer server;
  const json response =
      post(server, kPath, {{"prompt", "a cat"}, {"seed", 5}, {"size", "64x96"}}, 200);
  ASSERT_EQ(response["data"].size(), 1u);
  EXPECT_EQ(base64_decoded(response["data"][0]["b64_json"].get<std::string>())->substr(1, 3),
            "PNG");
  EXPECT_EQ(response["usage"]["input_tokens"], 3);
  EXPECT_EQ(response["usage"]["output_tokens"], 4 * 6);
  EXPECT_EQ(response["size"], "64x96");
}

TEST(OpenAiApi, NamesTheSizesNearestToAWrongOne) {
  TestServer server;
  const json error = post(server, kPath, {{"prompt", "a cat"}, {"size", "100x64"}}, 400)["error"];
  EXPECT_NE(error["message"].get<std::string>().find("96 and 112"), std::string::npos) << error;
}

TEST(OpenAiApi, FindsModelsWhoseNamesHaveSlashes) {
  const TestServer server;
  for (const char* name : {"Paint-Turbo", "baidu/Paint-Turbo", "baidu%2FPaint-Turbo", "dall-e-3"})
    EXPECT_EQ(get(server, std::string("/v1/models/") + name, 200)["id"], "Paint-Turbo");
  get(server, "/v1/models/baidu/other", 404);
}

TEST(OpenAiApi, TakesWhatTheNewestClientsSend) {
  const TestServer server;
  post(server, "/v1/images/generations",
       {{"prompt", "a"},
        {"complexity", "low"},
        {"frame_count", 1},
        {"safety_identifier", "me"},
        {"quality", "max"},
        {"output_compression", 0},
        {"svg", json::object()}},
       200);
  post(server, "/v1/images/generations", {{"prompt", "a"}, {"frame_count", 8}}, 400);
}

TEST(OpenAiApi, SaysWhyInTheReasonPhraseToo) {
  const TestServer server;
  const auto answer = server.client().Post("/v1/images/generations", R"({"prompt": "a", "n": 99})",
                                           "application/json");
  EXPECT_EQ(answer->status, 400);
  EXPECT_EQ(answer->reason, "n must be a whole number from 1 to 10");
}

TEST(OpenAiApi, ACancelledJobIsNotBegunAgain) {
  TestServerOptions options;
  options.step_time = std::chrono::milliseconds(50);
  TestServer server(options);
  std::thread canceller([&] {
    while (server.queue().list({}).empty()) std::this_thread::yield();
    server.queue().cancel(server.queue().list({}).front().id);
  });
  const auto answer =
      server.client().Post("/v1/images/generations", R"({"prompt": "a"})", "application/json");
  canceller.join();
  EXPECT_EQ(answer->status, 409);
  EXPECT_EQ(answer->get_header_value("x-should-retry"), "false");
}

TEST(HuggingFaceApi, GivesBytes) {
  const TestServer server;
  for (const char* path : {"/", "/v1", "/models/baidu/Paint-Turbo"}) {
    const auto answer = server.client().Post(
        path, R"({"inputs": "a cat", "parameters": {"width": 64, "seed": 5}})", "application/json");
    ASSERT_EQ(answer->status, 200) << answer->body;
    EXPECT_EQ(answer->get_header_value("Content-Type"), "image/png");
    EXPECT_TRUE(answer->body.starts_with("\x89PNG"));
  }
  post(server, "/", {{"inputs", ""}}, 400);
  post(server, "/", {{"inputs", "a"}, {"parameters", {{"wdith", 64}}}}, 400);
  post(server, "/models/other", {{"inputs", "a"}}, 404);
}

TEST(OllamaApi, DrawsInLinesOrAtOnce) {
  const TestServer server;
  const json whole =
      post(server, "/api/generate",
           {{"model", "paint-turbo:latest"}, {"prompt", "a"}, {"stream", false}}, 200);
  EXPECT_EQ(whole["done"], true);
  EXPECT_TRUE(base64_decoded(whole["image"].get<std::string>())->starts_with("\x89PNG"));
  const auto stream = server.client().Post("/api/generate",
                                           R"({"model": "paint-turbo", "prompt": "a", "steps": 3})",
                                           "application/json");
  EXPECT_EQ(stream->get_header_value("Content-Type"), "application/x-ndjson");
  std::istringstream lines(stream->body);
  json last;
  for (std::string line; std::getline(lines, line);) last = json::parse(line);
  EXPECT_EQ(last["done"], true) << stream->body;
  EXPECT_EQ(json::parse(stream->body.substr(0, stream->body.find('\n')))["total"], 3);
}

TEST(OllamaApi, ListsShowsAndSaysWhatIsWrong) {
  const TestServer server;
  EXPECT_EQ(get(server, "/api/tags", 200)["models"][0]["name"], "Paint-Turbo:latest");
  EXPECT_EQ(post(server, "/api/show", {{"model", "Paint-Turbo"}}, 200)["capabilities"],
            json({"image"}));
  EXPECT_TRUE(post(server, "/api/show", {{"model", "x"}}, 404)["error"].is_string());
  post(server, "/api/show", {{"name", "Paint-Turbo"}}, 200);
  for (const json& wrong : {json({{"model", "Paint-Turbo"}, {"name", json::object()}}),
                            json::object(), json({{"model", nullptr}})})
    post(server, "/api/show", wrong, 400);
  EXPECT_TRUE(
      post(server, "/api/generate", {{"prompt", "a"}, {"width", 7}}, 400)["error"].is_string());
}

TEST(OpenAiApi, ServesBaidusPath) {
  TestServer server;
  post(server, "/llm/lmapi/v3/images/generations", {{"prompt", "a"}, {"model", "paint-turbo"}},
       200);
  EXPECT_EQ(get(server, "/llm/lmapi/v3/models", 200)["data"][0]["id"], "Paint-Turbo");
}

TEST(OpenAiApi, NamesTheFieldThatIsWrong) {
  const TestServer server;
  const auto param_of = [&](const json& field) {
    json body = {{"prompt", "a"}};
    body.update(field);
    return post(server, kPath, body, 400)["error"]["param"];
  };
  EXPECT_EQ(param_of({{"prompt", ""}}), "prompt");
  EXPECT_EQ(param_of({{"n", "2"}}), "n");
  EXPECT_EQ(param_of({{"quality", "best"}}), "quality");
  EXPECT_EQ(param_of({{"response_format", "file"}}), "response_format");
  EXPECT_EQ(param_of({{"background", "transparent"}}), "background");
  EXPECT_EQ(param_of({{"moderation", "none"}}), "moderation");
  EXPECT_EQ(param_of({{"partial_images", 4}, {"stream", true}}), "partial_images");
  EXPECT_EQ(param_of({{"partial_images", 1}}), "partial_images");
  EXPECT_EQ(param_of({{"stream", 1}}), "stream");
  EXPECT_EQ(param_of({{"user", 1}}), "user");
  EXPECT_EQ(param_of({{"foo", 1}}), "foo");
}

TEST(OpenAiApi, TellsOfAFailedJob) {
  TestServer server;
  EXPECT_EQ(post(server, kPath, {{"prompt", "fail"}}, 500)["error"]["message"], "on fire");
}

TEST(OpenAiApi, GivesLinksThatNeedNoKeyWhereKeysAreNeeded) {
  TestServerOptions options;
  options.keys = "alice:0123456789abcdef";
  TestServer server(options);
  const json response = post(server, kPath, {{"prompt", "a"}, {"response_format", "url"}}, 200,
                             {{"Authorization", "Bearer 0123456789abcdef"}});
  const std::string url = response["data"][0]["url"];
  const std::string path = url.substr(url.find("/v1/"));
  const auto image = server.client().Get(path);
  ASSERT_TRUE(image);
  EXPECT_EQ(image->status, 200);
  std::string forged = path;
  forged.back() = forged.back() == '0' ? '1' : '0';
  EXPECT_EQ(server.client().Get(forged)->status, 404);
}

/// The only job of the server, once it is final.
json only_job(const TestServer& server) {
  return finished_job(server, get(server, "/v1/jobs", 200)["data"].at(0)["id"]);
}

TEST(OpenAiApi, CancelsTheJobOfAClientThatLeaves) {
  for (const char* stream : {"false", "true"}) {
    TestServerOptions options;
    options.step_time = std::chrono::milliseconds(50);
    TestServer server(options);
    const std::string body =
        std::string(R"({"prompt":"a","num_inference_steps":200,"stream":)") + stream + "}";
    {
      RawClient client(server.port());
      client.send(
          "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\n"
          "Content-Type: application/json\r\nContent-Length: " +
          std::to_string(body.size()) + "\r\n\r\n" + body);
      while (get(server, "/v1/jobs", 200)["data"].empty()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
    EXPECT_EQ(only_job(server)["status"], "cancelled") << stream;
  }
}

TEST(OpenAiApi, StreamsToClientsOfHttp10Too) {
  TestServer server;
  const std::string body = R"({"prompt":"a","stream":true,"partial_images":2})";
  RawClient client(server.port());
  client.send(
      "POST /v1/images/generations HTTP/1.0\r\nHost: localhost\r\nContent-Type: "
      "application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  const std::string response = client.read_all();
  EXPECT_NE(response.find("\r\n\r\nevent: "), std::string::npos);
  EXPECT_NE(response.find("event: image_generation.completed\n"), std::string::npos);
}

}  // namespace
}  // namespace ernie_image
