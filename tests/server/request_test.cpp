// A field of `Request` that is forgotten somewhere fails here: its JSON, stored jobs, flags, HTTP
// interfaces, their description, and the page.
#include "request/request.h"

#include <gtest/gtest.h>

#include <cmath>

#include <CLI/CLI.hpp>

#include "commands/generate_flags.h"
#include "io/test_files.h"
#include "jobs/job_json.h"
#include "server/a1111_view.h"
#include "server/api_error.h"
#include "server/embedded_page.h"
#include "server/support.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr const char* kLora = "peft_dora";  // of tests/data/formats/lora

/// Every option has a value of its own, which is no default and can be served.
double value_of(const RequestOption& option) {
  const auto index = &option - request_options().data();
  return std::min(16 * static_cast<double>(index + 1), option.max);
}

JobRequest example() {
  JobRequest request;
  for (const RequestOption& option : request_options()) option.set(request, value_of(option));
  request.model = "Paint-Turbo";
  request.set_prompts("a cat", "blurry");
  request.set_seeds({3, 1});
  request.variation_seeds = {8, 9};
  request.boxes = {{1, 2, 3, 4}};
  request.picture.strength = 0.25;
  request.adapters = {{kLora, 0.5, -1}};
  return request;
}

void expect_example_options(const Request& request) {
  for (const RequestOption& option : request_options()) {
    EXPECT_EQ(option.get(request).get<double>(), value_of(option)) << option.name();
  }
}

void expect_example_adapters(const Request& request) {
  ASSERT_EQ(request.adapters.size(), 1u);
  EXPECT_EQ(request.adapters[0].path, kLora);
  EXPECT_EQ(request.adapters[0].strength, 0.5);
  EXPECT_EQ(request.adapters[0].prompt, -1);
}

TEST(EveryField, SurvivesJson) {
  const Request request = example();
  const Request read = read_request(JsonReader(request_json(request), "test"));
  // Does this not compile? Then Request has a new field. Is it an option? Add it to the table in
  // src/request/request.cpp, and here. Is it a list? To the table's neighbours, and here.
  const auto& [prompts, negative_prompts, height_px, width_px, num_inference_steps, guidance_scale,
               num_images_per_prompt, seeds, variation_seeds, variation_strength, latents, picture,
               hires_scale, hires_width_px, hires_height_px, hires_strength, hires_steps, boxes,
               prompt_states, negative_prompt_states, adapters, on_progress, on_step, decode,
               cancel, trace] = request;
  EXPECT_EQ(read.prompts, prompts);
  EXPECT_EQ(read.negative_prompts, negative_prompts);
  EXPECT_EQ(read.height_px, height_px);
  EXPECT_EQ(read.width_px, width_px);
  EXPECT_EQ(read.num_inference_steps, num_inference_steps);
  EXPECT_EQ(read.guidance_scale, guidance_scale);
  EXPECT_EQ(read.num_images_per_prompt, num_images_per_prompt);
  EXPECT_EQ(read.seeds, seeds);
  EXPECT_EQ(read.variation_seeds, variation_seeds);
  EXPECT_EQ(read.variation_strength, variation_strength);
  EXPECT_EQ(read.hires_scale, hires_scale);
  EXPECT_EQ(read.hires_width_px, hires_width_px);
  EXPECT_EQ(read.hires_height_px, hires_height_px);
  EXPECT_EQ(read.hires_strength, hires_strength);
  EXPECT_EQ(read.hires_steps, hires_steps);
  ASSERT_EQ(read.boxes.size(), boxes.size());
  EXPECT_EQ(read.boxes[0].height_px, boxes[0].height_px);
  EXPECT_EQ(read.picture.strength, 0.25);  // of the boxes
  EXPECT_EQ(adapters.size(), 1u);
  expect_example_adapters(read);
  // Of the twenty-six, seven are lists and counts, and nine belong to a run and not to its record,
  // which has hashes of the latents and of the picture.
  EXPECT_EQ(request_options().size(), 26u - 7 - 9);
  EXPECT_TRUE(latents.empty() && picture.image.rgb.empty());
  EXPECT_TRUE(prompt_states.empty() && negative_prompt_states.empty());
  EXPECT_TRUE(!on_progress && !on_step && decode && !cancel && trace == nullptr);
  expect_example_options(read);
}

TEST(EveryField, SurvivesTheQueue) {
  const JobRequest read = parse_request(request_text(example()), "test");
  expect_example_options(read);
  expect_example_adapters(read);
  EXPECT_EQ(request_json(read), request_json(example()));
}

TEST(EveryField, SplitsBatches) {
  for (const RequestOption& option : request_options()) {
    JobRequest other = example();
    option.set(other, option.min == value_of(option) ? option.max : option.min);
    EXPECT_NE(batch_key(other), batch_key(example())) << option.name();
  }
  JobRequest other = example();
  other.adapters[0].strength = 0.75;
  EXPECT_NE(batch_key(other), batch_key(example()));
}

TEST(EveryField, IsLeftToTheModelIfOpen) {
  const Request open;
  for (const RequestOption& option : request_options()) EXPECT_TRUE(option.is_open(open));
  check_request(with_defaults(example(), open));
  Request asked;
  asked.prompts = {"a dog"};
  const Request filled = with_defaults(asked, example());
  expect_example_options(filled);
  EXPECT_EQ(filled.prompts, asked.prompts);
  EXPECT_EQ(filled.seeds, asked.seeds);
}

TEST(EveryField, HasLimits) {
  for (const RequestOption& option : request_options()) {
    for (const double wrong : {option.min - 1, option.max + 1}) {
      Request request = example();
      option.set(request, wrong);
      if (option.is_open(request)) continue;
      try {
        check_request(request);
        ADD_FAILURE() << option.name() << " " << wrong;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        EXPECT_EQ(std::string(error.what()).find(option.title), 0u) << error.what();
      }
    }
  }
}

TEST(Adapters, HaveLimits) {
  Request request;
  request.prompts = {"a cat", "a dog"};
  for (const auto& [adapter, expected] :
       {std::pair<Adapter, const char*>{{"x", 100.5, -1}, "-100 to 100"},
        {{"x", std::nan(""), -1}, "-100 to 100"},
        {{"x", 1, 2}, "prompt 2, and there are 2"},
        {{"x", 1, -2}, "prompt -2"}}) {
    request.adapters = {adapter};
    test::expect_error(ErrorKind::invalid_argument, {expected}, [&] { check_request(request); });
  }
  request.adapters.assign(kMaxAdapters, {"x", 1, 1});
  request.adapters.push_back({"x", 1, 0});
  check_request(request);  // none of both has more than it may have
  request.adapters.back().prompt = -1;
  test::expect_error(ErrorKind::invalid_argument, {"17 adapters for one prompt"},
                     [&] { check_request(request); });
}

TEST(Adapters, KeepTheirPromptsInJson) {
  Request request = example();
  request.prompts = {"a cat", "a dog"};
  request.num_images_per_prompt = 1;
  request.negative_prompts.clear();
  request.adapters = {{"x", -2, 1}, {"y", 1, -1}};
  const json object = request_json(request);
  const Request read = read_request(JsonReader(object, "test"));
  EXPECT_EQ(read.adapters.at(0).prompt, 1);
  EXPECT_EQ(read.adapters.at(1).prompt, -1);
  json wrong = object;
  wrong["adapters"][0]["prompt"] = 2;
  EXPECT_THROW(read_request(JsonReader(wrong, "test")), JsonError);
}

std::string flag_of(const RequestOption& option) {
  std::string flag = std::string("--") + option.name();
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

TEST(EveryField, HasAFlag) {
  CLI::App app;
  GenerateFlags flags;
  add_generate_flags(app, flags);
  std::vector<std::string> arguments;  // from the last to the first
  for (const RequestOption& option : request_options()) {
    ASSERT_NE(app.get_option_no_throw(flag_of(option)), nullptr) << flag_of(option);
    arguments.push_back(option.limit(value_of(option)).dump());
    arguments.push_back(flag_of(option));
  }
  EXPECT_NE(app.get_option_no_throw("--lora"), nullptr);
  app.parse(arguments);
  expect_example_options(flags.request);
  for (const RequestOption& option : request_options()) {
    CLI::App refusing;
    GenerateFlags others;
    add_generate_flags(refusing, others);
    EXPECT_THROW(refusing.parse({option.limit(option.max + 1).dump(), flag_of(option)}), Error);
  }
}

json options_body(Naming naming) {
  json body = {{"prompt", "a cat"}, {"loras", {{{"name", kLora}, {"strength", 0.5}}}}};
  for (const RequestOption& option : request_options()) {
    body[option.name(naming)] = option.limit(value_of(option));
  }
  return body;
}

TEST(EveryField, IsReadByTheHttpInterfaces) {
  const std::vector<WorkerInfo> workers = {PaintingWorker::info()};
  RequestLimits limits;
  limits.lora_directory = std::string(ERNIE_IMAGE_TEST_DATA) + "/formats/lora";
  const auto read = [&](const json& body, Naming naming) {
    const JsonReader fields(body, "body");
    return naming == Naming::full ? picture_request(fields, workers, limits)
                                  : a1111_request(fields, "", workers, limits);
  };
  for (const Naming naming : {Naming::full, Naming::a1111}) {
    expect_example_options(read(options_body(naming), naming));
    expect_example_adapters(read(options_body(naming), naming));
    for (const RequestOption& option : request_options()) {
      json body = options_body(naming);
      body[option.name(naming)] = option.limit(option.max + 1);
      try {
        read(body, naming);
        ADD_FAILURE() << option.name();
      } catch (const JsonError& error) {
        EXPECT_EQ(error.key(), option.name(naming));
      }
    }
  }
  EXPECT_NO_THROW(refuse_unknown(JsonReader(options_body(Naming::full), "body"), {}));
}

TEST(EveryField, IsDescribed) {
  const json schemas = json::parse(openapi_document()).at("components").at("schemas");
  const json& strength = schemas.at("Lora").at("properties").at("strength");
  EXPECT_EQ(strength.at("minimum"), -kMaxAdapterStrength);
  EXPECT_EQ(strength.at("maximum"), kMaxAdapterStrength);
  const std::pair<const char*, Naming> requests[] = {{"JobRequest", Naming::full},
                                                     {"ImageGenerationRequest", Naming::full},
                                                     {"A1111Request", Naming::a1111}};
  for (const auto& [schema, naming] : requests) {
    for (const RequestOption& option : request_options()) {
      const json& properties = schemas.at(schema).at("properties");
      ASSERT_TRUE(properties.contains(option.name(naming))) << schema << " " << option.name();
      const json& property = properties.at(option.name(naming));
      EXPECT_EQ(property.value("minimum", json()), option.limit(option.min)) << option.name();
      EXPECT_EQ(property.value("maximum", json()), option.limit(option.max)) << option.name();
    }
    EXPECT_EQ(schemas.at(schema).at("properties").at("loras").at("maxItems"), kMaxAdapters);
  }
}

TEST(EveryField, IsOfferedToThePage) {
  TestServer server;
  const json capabilities = get(server, "/v1/capabilities", 200);
  std::string settings;
  for (const EmbeddedFile& file : page_files()) {
    if (!file.name.ends_with("settings.js")) continue;
    settings.assign(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
  }
  for (const RequestOption& option : request_options()) {
    EXPECT_EQ(capabilities["options"][option.name()]["min"], option.limit(option.min));
    EXPECT_TRUE(
        capabilities["models"][0].contains(std::string("default_") + option.name(Naming::brief)));
    EXPECT_NE(settings.find(option.name()), std::string::npos) << option.name();
  }
  EXPECT_NE(settings.find("loras"), std::string::npos);
  EXPECT_EQ(capabilities["options"]["num_inference_steps"]["max"], RequestLimits{}.max_steps);
}

}  // namespace
}  // namespace ernie_image
