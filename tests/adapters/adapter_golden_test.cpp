// Every file of tests/data/formats/lora, written by the real packages, gives the final latents of
// the reference; and what adapters do to a pipeline that is used again.
//
// Limit: the expected latents come from weights merged in float32 and run by the reference in
// float32; products beside the weight round otherwise, as much as merging does.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "adapters/final_latents.h"
#include "ernie_image/pipeline.h"
#include "io/test_files.h"
#include "support/device.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

constexpr double kLimit = 1e-8;  // tests/data/formats/README.md

std::string formats_path(const std::string& name) { return golden::data_path("formats/" + name); }

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

LoadOptions load_options() {
  LoadOptions options;
  options.model = golden::data_path("reference/models/tiny_b");
  options.device = test_device();
  return options;
}

Request base_request() {
  const nlohmann::json inputs = read_json(formats_path("case.json"))["inputs"];
  Request request;
  request.prompts = {inputs["prompt"]};
  request.seeds = {inputs["seed"].get<std::uint64_t>()};
  request.height_px = inputs["height"];
  request.width_px = inputs["width"];
  request.num_inference_steps = inputs["num_inference_steps"];
  request.guidance_scale = inputs["guidance_scale"].get<double>();
  return request;
}

Tensor final_latents(Pipeline& pipeline, const std::vector<Adapter>& adapters,
                     Result* result = nullptr) {
  FinalLatents trace;
  Request request = base_request();
  request.adapters = adapters;
  request.trace = &trace;
  const Result made = pipeline.generate(request);
  if (result != nullptr) *result = made;
  return trace.latents;
}

Tensor expected_latents(const std::string& file) {
  return SafetensorsFile::open(formats_path(file)).tensor("latents.final");
}

double error_of(const Tensor& latents, const Tensor& expected) {
  return golden::compare(latents, expected).nmse;
}

/// The file that a case names, or its folder if a configuration belongs to it.
std::string adapter_path(const std::string& name) {
  const std::string folder = formats_path("lora/" + name);
  if (std::filesystem::exists(folder + "/adapter_config.json")) return folder;
  return folder + "/" + read_json(folder + "/case.json")["weights"].get<std::string>();
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(formats_path("lora"))) {
    const std::string name = entry.path().filename();
    if (name != "two_at_once") names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

class AdapterGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(AdapterGolden, GivesTheReferencesLatents) {
  const nlohmann::json expected = read_json(formats_path("lora/" + GetParam() + "/case.json"));
  Pipeline pipeline = Pipeline::load(load_options());
  Result result;
  const Tensor latents =
      final_latents(pipeline, {{adapter_path(GetParam()), expected["strength"]}}, &result);
  EXPECT_LE(error_of(latents, expected_latents("lora/" + GetParam() + "/expected.safetensors")),
            kLimit);
  ASSERT_EQ(result.adapters.size(), 1u);
  EXPECT_EQ(result.adapters[0].used_keys, result.adapters[0].keys);
  EXPECT_GE(result.adapters[0].keys, 2 * expected["modules"].get<int>());
}

INSTANTIATE_TEST_SUITE_P(Formats, AdapterGolden, ::testing::ValuesIn(case_names()),
                         [](const auto& file) { return file.param; });

TEST(AdapterRuns, AddTwo) {
  Pipeline pipeline = Pipeline::load(load_options());
  const Tensor latents =
      final_latents(pipeline, {{adapter_path("kohya"), 0.8}, {adapter_path("aitoolkit"), 0.5}});
  EXPECT_LE(error_of(latents, expected_latents("lora/two_at_once/expected.safetensors")), kLimit);
}

TEST(AdapterRuns, LeaveNothingBehind) {
  Pipeline pipeline = Pipeline::load(load_options());
  const Tensor before = final_latents(pipeline, {});
  EXPECT_LE(error_of(before, expected_latents("base.safetensors")), kLimit);
  for (const char* name : {"kohya", "lycoris_dora", "onetrainer_dora_inputs", "lycoris_lokr"}) {
    const Tensor with = final_latents(pipeline, {{adapter_path(name), 1.0}});
    EXPECT_GT(error_of(with, before), 1e-4) << name;
  }
  const Tensor again = final_latents(pipeline, {});
  EXPECT_EQ(golden::compare(again, before).max_abs, 0);
}

TEST(AdapterRuns, OfStrengthZeroChangeNothing) {
  Pipeline pipeline = Pipeline::load(load_options());
  const Tensor without = final_latents(pipeline, {});
  const Tensor with = final_latents(pipeline, {{adapter_path("peft_dora"), 0.0}});
  EXPECT_EQ(golden::compare(with, without).max_abs, 0);
}

TEST(AdapterRuns, OppositeStrengthsCancel) {
  Pipeline pipeline = Pipeline::load(load_options());
  const Tensor without = final_latents(pipeline, {});
  for (const char* name :
       {"kohya", "peft_dora", "onetrainer_dora_inputs", "lycoris_loha", "onetrainer_lokr_dora"}) {
    const std::string path = adapter_path(name);
    const Tensor both = final_latents(pipeline, {{path, 0.7}, {path, -0.7}});
    EXPECT_LE(error_of(both, without), 1e-9) << name;
  }
}

/// Rows of one and columns of the other cannot both be multiplied beside the weight: it is merged.
TEST(AdapterRuns, MergeDoraOfRowsAndOfColumns) {
  Pipeline pipeline = Pipeline::load(load_options());
  const Tensor rows = final_latents(pipeline, {{adapter_path("onetrainer_lokr_dora"), 1.0}});
  const Tensor both = final_latents(pipeline, {{adapter_path("onetrainer_lokr_dora"), 1.0},
                                               {adapter_path("onetrainer_dora_inputs"), 1.0},
                                               {adapter_path("onetrainer_dora_inputs"), -1.0}});
  EXPECT_LE(error_of(both, rows), 1e-9);
}

TEST(AdapterRuns, InBf16StayNearFp32) {
  LoadOptions options = load_options();
  options.precision = Precision::bf16;
  Pipeline pipeline = Pipeline::load(options);
  Request request = base_request();
  const Tensor noise = expected_latents("base.safetensors");
  const Tensor initial =
      SafetensorsFile::open(formats_path("base.safetensors")).tensor("latents.initial");
  const Tensor plain = expected_latents("base.safetensors");
  const auto run = [&](const std::vector<Adapter>& adapters) {
    FinalLatents trace;
    request.adapters = adapters;
    request.trace = &trace;
    request.latents.assign(initial.span<float>().begin(), initial.span<float>().end());
    pipeline.generate(request);
    return to_float(trace.latents);
  };
  const double rounding = error_of(run({}), plain);
  for (const char* name : {"kohya", "peft_dora", "lycoris_lokr", "onetrainer_dora_inputs"}) {
    const Tensor expected = expected_latents("lora/" + std::string(name) + "/expected.safetensors");
    // As far from fp32 as the run without adapters is, some more for the terms' own rounding.
    EXPECT_LE(error_of(run({{adapter_path(name), 1.0}}), expected), 4 * rounding) << name;
  }
}

TEST(AdapterRuns, RefuseAStrengthThatIsNoNumber) {
  Pipeline pipeline = Pipeline::load(load_options());
  test::expect_error(ErrorKind::invalid_argument, {"strength", "-100 to 100"}, [&] {
    final_latents(pipeline, {{adapter_path("kohya"), 1e9}});
  });
}

}  // namespace
}  // namespace ernie_image
