// --save-tensors and --latents: the tensors of a run under the golden cases' names.
#include <gtest/gtest.h>

#include <set>

#include "common/tensor_collector.h"
#include "io/safetensors.h"
#include "program.h"
#include "support/golden.h"

namespace ernie_image::cli_test {
namespace {

using golden::Case;

/// Runs a golden case of tiny_a through the program; the initial latents come from the case.
Outcome run_case(const Case& golden_case, const TemporaryFolder& folder,
                 const std::vector<std::string>& more) {
  const auto& inputs = golden_case.inputs();
  std::vector<std::string> arguments = {"generate",
                                        "--model",
                                        golden::data_path("reference/models/tiny_a"),
                                        "--prompt",
                                        inputs["prompt"],
                                        "-H",
                                        std::to_string(inputs["height"].get<int>()),
                                        "-W",
                                        std::to_string(inputs["width"].get<int>()),
                                        "--steps",
                                        std::to_string(inputs["num_inference_steps"].get<int>()),
                                        "--cfg-scale",
                                        std::to_string(inputs["guidance_scale"].get<double>()),
                                        "--seed",
                                        std::to_string(inputs["seed"].get<int>()),
                                        "--latents",
                                        golden_case.tensors.path(),
                                        "--save-tensors",
                                        folder / "t.safetensors",
                                        "-o",
                                        folder / "a.png",
                                        "--no-enhance"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

/// Names of the fp32 tensors of a case that a run must save, blocks included or not.
std::set<std::string> expected_names(const Case& golden_case, bool blocks) {
  const TensorCollector collector(blocks);
  std::set<std::string> names;
  for (const std::string& name : golden_case.tensors.names()) {
    if (!name.starts_with("bf16") && collector.wants(name)) names.insert(name);
  }
  return names;
}

void expect_case_saved(bool blocks, const std::vector<std::string>& more) {
  const Case golden_case(golden::data_path("reference/cases/tiny_a/02_turbo_8_steps_wide"));
  const TemporaryFolder folder;
  const Outcome outcome = run_case(golden_case, folder, more);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const SafetensorsFile saved = SafetensorsFile::open(folder / "t.safetensors");
  for (const std::string& name : expected_names(golden_case, blocks)) {
    ASSERT_TRUE(saved.contains(name)) << name;
    EXPECT_EQ(saved.weight(name).shape, golden_case.tensors.weight(name).shape) << name;
    EXPECT_EQ(saved.weight(name).dtype, golden_case.tensors.weight(name).dtype) << name;
  }
  for (const std::string& name : saved.names()) {
    EXPECT_TRUE(TensorCollector(blocks).wants(name)) << name;
  }
  // The reference's README justifies 1e-9 for fp32 without guidance.
  EXPECT_LT(
      golden::compare(saved.tensor("latents.final"), golden_case.tensors.tensor("latents.final"))
          .nmse,
      1e-9);
}

TEST(SaveTensors, WritesTheStagesOfAGoldenCase) { expect_case_saved(false, {}); }

TEST(SaveTensors, WritesTheBlocksOfAGoldenCase) { expect_case_saved(true, {"--trace", "blocks"}); }

TEST(SaveTensors, KeepsTheRunsDtype) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program(
      quick_run(folder / "a.png", {"--dtype", "bf16", "--save-tensors", folder / "t.safetensors"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const SafetensorsFile saved = SafetensorsFile::open(folder / "t.safetensors");
  for (const char* name :
       {"text_hidden.prompt.0", "dit.text_bth", "latents.initial", "step0.dit_output",
        "step0.latents", "latents.final", "vae.input", "vae.output"}) {
    EXPECT_EQ(saved.weight(name).dtype, DType::bf16) << name;
  }
  EXPECT_EQ(saved.weight("image.uint8").shape, Shape({1, 64, 64, 3}));
  EXPECT_EQ(saved.weight("image.uint8").dtype, DType::u8);
}

class Latents : public testing::Test {
 protected:
  Outcome run_with(const Tensor& latents, const std::string& name = "latents.initial") {
    write_safetensors(folder_ / "l.safetensors", {{name, latents}});
    return run_program(quick_run(folder_ / "a.png", {"--latents", folder_ / "l.safetensors"}));
  }

  TemporaryFolder folder_;
};

TEST_F(Latents, OfARunGiveItsPictureAgain) {
  ASSERT_EQ(run_program(quick_run(folder_ / "a.png", {"--save-tensors", folder_ / "t.safetensors"}))
                .exit_code,
            0);
  ASSERT_EQ(run_program(
                quick_run(folder_ / "b.png", {"--seed", "3", "--latents", folder_ / "t.safetensors",
                                              "--save-tensors", folder_ / "u.safetensors"}))
                .exit_code,
            0);
  EXPECT_EQ(read_bytes(folder_ / "t.safetensors"), read_bytes(folder_ / "u.safetensors"));
}

TEST_F(Latents, MayBeBf16) {
  EXPECT_EQ(run_with(Tensor::host(DType::bf16, {1, 64, 4, 4})).exit_code, 0);
}

TEST_F(Latents, OfAnotherShapeAreRefusedWithBothShapes) {
  const Outcome outcome = run_with(Tensor::host(DType::f32, {1, 64, 4, 6}));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("[1, 64, 4, 6]"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("[1, 64, 4, 4]"), std::string::npos) << outcome.err;
}

TEST_F(Latents, OfAnotherNameOrTypeAreRefused) {
  EXPECT_EQ(run_with(Tensor::host(DType::f32, {1, 64, 4, 4}), "noise").exit_code, 2);
  EXPECT_EQ(run_with(Tensor::host(DType::i64, {1, 64, 4, 4})).exit_code, 2);
}

TEST_F(Latents, FromABrokenFileAreRefused) {
  write_bytes(folder_ / "l.safetensors", "no tensors");
  EXPECT_EQ(
      run_program(quick_run(folder_ / "a.png", {"--latents", folder_ / "l.safetensors"})).exit_code,
      1);
  EXPECT_EQ(run_program(quick_run(folder_ / "a.png", {"--latents", folder_ / "none"})).exit_code,
            1);
}

}  // namespace
}  // namespace ernie_image::cli_test
