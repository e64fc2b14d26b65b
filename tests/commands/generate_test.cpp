// `ernie-image generate` with the embedded model: flags, files, metadata, JSON.
#include <gtest/gtest.h>

#include "io/image_file.h"
#include "program.h"

namespace ernie_image::cli_test {
namespace {

using nlohmann::json;
using Names = std::vector<std::string>;

std::string joined(const Names& arguments) {
  std::string text;
  for (const std::string& argument : arguments) text += argument + " ";
  return text;
}

TEST(Generate, DrawsAnEmptyPromptAsItIs) {
  const TemporaryFolder folder;
  for (const char* prompt : {"", " \n"}) {
    const Outcome outcome = run_program(
        {"generate", prompt, "--steps", "1", "--pe-cache", "off", "--output", folder / "a.png"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("The prompt is empty"), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("Enhanced prompt"), std::string::npos) << outcome.err;
    EXPECT_EQ(record_of(folder / "a.png").at("prompts"), json::array({prompt}));
  }
}

TEST(Generate, MakesAPictureWithTheModelsDefaults) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program({"generate", "--prompt", "a red apple on a blue background",
                                       "--no-enhance", "--output", folder / "a.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find("embedded model emoji-tiny"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("`ernie-image pull baidu/ERNIE-Image-Turbo`"), std::string::npos);
  EXPECT_EQ(outcome.err.find("hf download"), std::string::npos) << outcome.err;
  EXPECT_EQ(folder.names(), Names({"a.png"}));
  const ImageFile file = read_image(folder / "a.png");
  EXPECT_EQ(file.image.width_px, 64);
  EXPECT_EQ(file.image.height_px, 64);
  EXPECT_TRUE(file.metadata.at("parameters")
                  .starts_with("a red apple on a blue background\nSteps: 8, Sampler: Euler, CFG "
                               "scale: 1, Seed: 42, Size: 64x64, Model: emoji-tiny, Version: "
                               "ernie-image "));
  const json record = json::parse(file.metadata.at("ernie_image"));
  EXPECT_EQ(record["dtype"], "fp32");
  EXPECT_EQ(record["quantization"], "none");
  EXPECT_EQ(record["device"], "cpu");
  EXPECT_NE(record["cpu_kernels"], "auto");
  EXPECT_EQ(record["model"]["content_hash"].get<std::string>().size(), 64u);
}

/// Every spelling of a flag leaves the same record as the first.
TEST(Generate, KnowsEveryAlias) {
  const std::vector<Names> spellings = {
      {"--prompt", "a dog", "--negative-prompt", "a cat", "--height", "32", "--width", "48",
       "--num-steps", "2", "--guidance-scale", "2", "--seed", "5", "--model", ""},
      {"-p", "a dog", "-n", "a cat", "-H", "32", "-W", "48", "--steps", "2", "--cfg-scale", "2",
       "-s", "5"},
      {"-pa dog", "--negative-prompt=a cat", "--height=32", "-W48", "--num-inference-steps", "2",
       "--cfg-scale=2.0", "--seed=5"}};
  const TemporaryFolder folder;
  json first;
  for (Names arguments : spellings) {
    arguments.insert(arguments.begin(), "generate");
    arguments.insert(arguments.end(), {"-o", folder / "a.png", "-t", "1", "-q", "--no-enhance"});
    const Outcome outcome = run_program(arguments);
    ASSERT_EQ(outcome.exit_code, 0) << joined(arguments) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    const json record = record_of(folder / "a.png");
    if (first.is_null()) first = record;
    EXPECT_EQ(record, first) << joined(arguments);
  }
  EXPECT_EQ(first["prompts"], json({"a dog"}));
  EXPECT_EQ(first["negative_prompts"], json({"a cat"}));
  EXPECT_EQ(first["height"], 32);
  EXPECT_EQ(first["width"], 48);
  EXPECT_EQ(first["num_inference_steps"], 2);
  EXPECT_EQ(first["guidance_scale"], 2.0);
  EXPECT_EQ(first["seeds"], json({5}));
}

TEST(Generate, JsonHasEverySecondEveryByteAndEveryFile) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program(
      {"generate", "-p", "a dog", "-p", "熊猫", "--num-images", "2", "--seed", "1,2,3,4", "--steps",
       "2", "--json", "--no-enhance", "--preview", folder / "view.png", "-o", folder / "a.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json report = outcome.json();
  for (const char* stage : {"load", "text_encoder", "transformer", "vae_decoder", "total"}) {
    EXPECT_GE(report["seconds"].at(stage).get<double>(), 0) << stage;
  }
  EXPECT_EQ(report["seconds"].at("steps").size(), 2u);
  for (const char* kind : {"peak_anonymous_bytes", "peak_mapped_bytes", "peak_activation_bytes"}) {
    EXPECT_GT(report["memory"].at(kind).get<std::uint64_t>(), 100000u) << kind;
  }
  std::vector<std::string> stages;
  for (const json& stage : report["memory"].at("stages")) {
    stages.push_back(stage.at("name"));
    EXPECT_GT(stage.at("predicted_bytes").get<std::uint64_t>(), 1u << 20) << stage;
    EXPECT_GT(stage.at("measured_bytes").get<std::uint64_t>(), 1u << 20) << stage;
  }
  EXPECT_EQ(stages, std::vector<std::string>({"text_encoder", "transformer", "vae"}));
  EXPECT_GT(report["memory"].at("predicted_peak_bytes").get<std::uint64_t>(), 1u << 20);
  EXPECT_GT(report["memory"].at("measured_peak_bytes").get<std::uint64_t>(), 1u << 20);
  EXPECT_EQ(report["model"]["name"], "emoji-tiny");
  EXPECT_EQ(report["model"]["path"], "embedded:emoji-tiny");
  EXPECT_EQ(report["seeds"], json({1, 2, 3, 4}));
  ASSERT_EQ(report["images"].size(), 4u);
  const json& third = report["images"][2];
  EXPECT_EQ(third["path"], folder / "a-3.png");
  EXPECT_EQ(third["preview"], folder / "view-3.png");
  EXPECT_EQ(third["prompt"], "熊猫");
  EXPECT_EQ(third["seed"], 3);
  EXPECT_EQ(third["width"], 64);
  EXPECT_EQ(read_image(folder / "view-3.png").image.width_px, 64 * 7 + 48);
  EXPECT_EQ(folder.names(), Names({"a-2.png", "a-3.png", "a-4.png", "a.png", "view-2.png",
                                   "view-3.png", "view-4.png", "view.png"}));
}

TEST(Generate, ReadsPromptsFromAFileAndNumbersTheOutputs) {
  const TemporaryFolder folder;
  write_bytes(folder / "prompts.txt", "a dog\r\n\n  \n一只熊猫\n");
  const Outcome outcome = run_program({"generate", "--prompt-file", folder / "prompts.txt",
                                       "--steps", "1", "--no-enhance", "-o", folder / "p%03d.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(folder.names(), Names({"p001.png", "p002.png", "prompts.txt"}));
  EXPECT_EQ(record_of(folder / "p002.png")["prompts"], json({"a dog", "一只熊猫"}));
  EXPECT_EQ(record_of(folder / "p002.png")["image_index"], 1);
  EXPECT_TRUE(read_image(folder / "p002.png").metadata.at("parameters").starts_with("一只熊猫\n"));
}

TEST(Generate, ReadsPromptsFromStandardInput) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program(
      {"generate", "--prompt-file", "-", "--steps", "1", "--no-enhance", "-o", folder / "a.png"},
      {.input = "a cat\n"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(record_of(folder / "a.png")["prompts"], json({"a cat"}));
}

TEST(Generate, TakesAnEmptyPrompt) {
  const TemporaryFolder folder;
  EXPECT_EQ(
      run_program({"generate", "--prompt=", "--steps", "1", "--no-enhance", "-o", folder / "a.png"})
          .exit_code,
      0);
  EXPECT_EQ(record_of(folder / "a.png")["prompts"], json({""}));
}

TEST(Generate, WritesJpegAndWebpOfTheQualityAsked) {
  const TemporaryFolder folder;
  for (const char* name : {"a.jpg", "a.jpeg", "a.webp", "A.WEBP"}) {
    ASSERT_EQ(run_program(quick_run(folder / name, {"--quality", "95"})).exit_code, 0) << name;
    const std::size_t fine = read_bytes(folder / name).size();
    ASSERT_EQ(run_program(quick_run(folder / name, {"--quality", "20"})).exit_code, 0) << name;
    EXPECT_LT(read_bytes(folder / name).size(), fine) << name;
  }
  EXPECT_TRUE(read_bytes(folder / "a.jpg").starts_with("\xFF\xD8\xFF"));
  EXPECT_EQ(read_bytes(folder / "a.webp").substr(8, 4), "WEBP");
}

TEST(Generate, TakesTheRunningConditions) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program(
      quick_run(folder / "a.png", {"--dtype", "bf16", "--device", "cpu", "--threads", "2",
                                   "--cpu-kernels", "portable", "--memory-limit", "2G", "--json"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.json()["dtype"], "bf16");
  EXPECT_EQ(outcome.json()["cpu_kernels"], "portable");
  EXPECT_EQ(record_of(folder / "a.png")["memory_limit_bytes"], std::uint64_t{2} << 30);
}

TEST(Generate, ShowsThePictureInTheTerminal) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program(quick_run(folder / "a.png", {"--show", "--quiet"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("\x1b[38;2;"), std::string::npos);
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 32);  // two rows a line
}

TEST(Generate, DrawsARandomSeedAndSaysWhich) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program(quick_run(folder / "a.png", {"--seed", "random", "--json"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(record_of(folder / "a.png")["seeds"], outcome.json()["seeds"]);
}

/// A batch adds in another order than a single run does: values may cross a rounding boundary.
void expect_same_picture(const std::filesystem::path& a, const std::filesystem::path& b) {
  const Image first = read_image(a).image, second = read_image(b).image;
  ASSERT_EQ(first.rgb.size(), second.rgb.size());
  for (std::size_t i = 0; i < first.rgb.size(); ++i)
    ASSERT_NEAR(first.rgb[i], second.rgb[i], 1) << i;
}

TEST(Generate, SeedListGivesTheSamePicturesAsSingleRuns) {
  const TemporaryFolder folder;
  ASSERT_EQ(
      run_program(quick_run(folder / "l%d.png", {"--num-images", "2", "--seed", "7,8"})).exit_code,
      0);
  ASSERT_EQ(run_program(quick_run(folder / "7.png", {"--seed", "7"})).exit_code, 0);
  ASSERT_EQ(run_program(quick_run(folder / "8.png", {"--seed", "8"})).exit_code, 0);
  expect_same_picture(folder / "l1.png", folder / "7.png");
  expect_same_picture(folder / "l2.png", folder / "8.png");
}

TEST(Generate, SaysThatANegativePromptIsNotUsed) {
  const TemporaryFolder folder;
  const auto notes = [&](const std::string& guidance) {
    return run_program(quick_run(folder / "a.png", {"-n", "blue", "--cfg-scale", guidance})).err;
  };
  EXPECT_NE(notes("1").find("negative prompt is not used"), std::string::npos);
  EXPECT_EQ(notes("2").find("negative prompt is not used"), std::string::npos);
}

TEST(Generate, WarnsOfSizesThatTheEmbeddedModelDoesNotKnow) {
  const TemporaryFolder folder;
  const auto notes = [&](const std::vector<std::string>& more) {
    return run_program(quick_run(folder / "a.png", more)).err;
  };
  EXPECT_NE(notes({"-W", "32"}).find("at 32x64 expect noise"), std::string::npos);
  EXPECT_EQ(notes({"-W", "64", "-H", "64"}).find("expect noise"), std::string::npos);
  EXPECT_EQ(notes({"-W", "32", "-H", "32", "-m",
                   std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_a"})
                .find("expect noise"),
            std::string::npos);
}

TEST(Generate, NamesWeightFilesThatAreNotRead) {
  const TemporaryFolder folder;
  const std::string model = folder / "model";
  std::filesystem::copy(std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_b", model,
                        std::filesystem::copy_options::recursive);
  const std::vector<std::string> arguments =
      quick_run(folder / "a.png", {"-W", "32", "-H", "32", "-m", model});
  ASSERT_EQ(run_program(arguments).err.find("not read"), std::string::npos);
  const std::string first = read_bytes(folder / "a.png");
  // A stray file beside the index and its shards, as half of a conversion leaves it.
  write_bytes(model + "/transformer/diffusion_pytorch_model.safetensors", "no weights");
  const Outcome outcome = run_program(arguments);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("transformer: the weights are those of "
                             "diffusion_pytorch_model-00001-of-00002.safetensors and the other "
                             "shards; not read: diffusion_pytorch_model.safetensors"),
            std::string::npos)
      << outcome.err;
  EXPECT_EQ(read_bytes(folder / "a.png"), first);  // the content hash is that of what is read
}

TEST(Generate, OverwritesAnOlderPicture) {
  const TemporaryFolder folder;
  write_bytes(folder / "a.png", "old");
  EXPECT_EQ(run_program(quick_run(folder / "a.png")).exit_code, 0);
  EXPECT_EQ(read_image(folder / "a.png").image.width_px, 64);
}

TEST(Generate, TakesTheModelFromTheEnvironment) {
  const TemporaryFolder folder;
  const std::string model = std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_a";
  const Outcome outcome =
      run_program(quick_run(folder / "a.png", {"-W", "32", "-H", "32", "--json"}),
                  {.environment = {"ERNIE_IMAGE_MODEL=" + model}});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err.find("embedded"), std::string::npos);
  EXPECT_EQ(outcome.json()["model"]["name"], "tiny_a");
}

TEST(Generate, ClosedStandardOutputIsAnErrorButThePictureIsWhole) {
  for (const Stdout kind : {Stdout::closed, Stdout::broken_pipe}) {
    const TemporaryFolder folder;
    const Outcome outcome =
        run_program(quick_run(folder / "a.png", {"--json"}), {.standard_output = kind});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find("standard output"), std::string::npos) << outcome.err;
    EXPECT_EQ(read_image(folder / "a.png").image.width_px, 64);
  }
}

TEST(Generate, NeedsNoStandardOutputWithoutJson) {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_program(quick_run(folder / "a.png"), {.standard_output = Stdout::closed});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

}  // namespace
}  // namespace ernie_image::cli_test
