// --lora, <lora:name> in prompts, `rerun` with adapters, and `ernie-image lora`.
#include <gtest/gtest.h>

#include "common/lora.h"
#include "io/image_file.h"
#include "io/safetensors.h"
#include "program.h"
#include "support/golden.h"

namespace ernie_image::cli_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kModel = golden::data_path("reference/models/tiny_b");

std::string adapter(const std::string& name) { return golden::data_path("formats/lora/" + name); }
const std::string kKohya = adapter("kohya/ot_lora.safetensors");
const std::string kDora = adapter("peft_dora");

std::vector<std::string> picture(const std::string& output,
                                 const std::vector<std::string>& more = {},
                                 const std::string& model = kModel) {
  std::vector<std::string> arguments = {"--model", model, "-W", "64", "-H", "48"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return quick_run(output, arguments);
}

std::vector<std::uint8_t> pixels(const std::string& path) { return read_image(path).image.rgb; }

/// Of adapters of full rank, whose products are rounded otherwise: at most one level of a byte,
/// where a value lies just between two.
void expect_same_but_for_rounding(const std::string& path, const std::string& expected) {
  const std::vector<std::uint8_t> a = pixels(path), b = pixels(expected);
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1) << "byte " << i;
}

void expect_run(const std::vector<std::string>& arguments) {
  const Outcome outcome = run_program(arguments);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
}

class Lora : public testing::Test {
 protected:
  Lora() {
    fs::create_directory(loras_);
    fs::copy(kKohya, loras_ + "/style.safetensors");
    fs::copy(kDora, loras_ + "/face");
  }

  TemporaryFolder folder_;
  std::string loras_ = folder_ / "loras";
};

TEST_F(Lora, ReportsTheKeysThatWereUsed) {
  const Outcome outcome =
      run_program(picture(folder_ / "a.png", {"--lora", kKohya + ":0.5", "--json"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json loras = outcome.json()["loras"];
  ASSERT_EQ(loras.size(), 1u);
  EXPECT_EQ(loras[0]["name"], "ot_lora");
  EXPECT_EQ(loras[0]["strength"], 0.5);
  EXPECT_EQ(loras[0]["keys"], 42);
  EXPECT_EQ(loras[0]["used_keys"], 42);
  EXPECT_EQ(loras[0]["sha256"].get<std::string>().size(), 64u);
}

TEST_F(Lora, TagsOfAPromptAreTheSameAsFlags) {
  expect_run(picture(folder_ / "plain.png"));
  std::vector<std::string> tagged = picture(folder_ / "tag.png", {"--lora-dir", loras_});
  std::vector<std::string> flagged =
      picture(folder_ / "flag.png", {"--lora", kKohya + ":0.8", "--lora", kDora + ":-0.5"});
  for (std::string& argument : tagged) {
    if (argument == "-p" || argument == "--prompt") {
      std::string& prompt = *(&argument + 1);
      prompt = "<lora:style:0.8> " + prompt + " <lora:face:-0.5>";
      break;
    }
  }
  expect_run(tagged);
  expect_run(flagged);
  EXPECT_EQ(pixels(folder_ / "tag.png"), pixels(folder_ / "flag.png"));
  EXPECT_NE(pixels(folder_ / "tag.png"), pixels(folder_ / "plain.png"));
}

/// Each prompt has adapters of its own, and pictures are those of the prompts alone with the noise
/// of the batch.
TEST_F(Lora, PromptsOfABatchMayHaveDifferentOnes) {
  const auto run = [&](const std::string& name, const std::vector<std::string>& prompts) {
    std::vector<std::string> arguments = {
        "generate", "--model", kModel,  "-W",         "64",   "-H", "48",          "--num-steps",
        "2",        "--seed",  "1,2,3", "--lora-dir", loras_, "-o", folder_ / name};
    for (const std::string& prompt : prompts) {
      arguments.push_back("-p");
      arguments.push_back(prompt);
    }
    const Outcome outcome = run_program(arguments);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  };
  run("m-%d.png", {"a cat <lora:style>", "a dog", "an owl <lora:face:2>"});
  run("s-%d.png", {"a cat <lora:style>", "a dog <lora:style>", "an owl <lora:style>"});
  run("n-%d.png", {"a cat", "a dog", "an owl"});
  EXPECT_EQ(pixels(folder_ / "m-1.png"), pixels(folder_ / "s-1.png"));
  EXPECT_EQ(pixels(folder_ / "m-2.png"), pixels(folder_ / "n-2.png"));
  EXPECT_NE(pixels(folder_ / "m-3.png"), pixels(folder_ / "s-3.png"));
  EXPECT_NE(pixels(folder_ / "m-3.png"), pixels(folder_ / "n-3.png"));
  const Outcome again =
      run_program({"rerun", folder_ / "m-3.png", "--model", kModel, "--lora-dir", loras_});
  EXPECT_EQ(again.out, "equal: all 3072 pixels\n") << again.err;
}

TEST_F(Lora, RerunFindsAdaptersByTheirContent) {
  expect_run(picture(folder_ / "a.png", {"--lora", kKohya + ":0.8"}));
  const json record = record_of(folder_ / "a.png");
  ASSERT_EQ(record["adapters"].size(), 1u);
  EXPECT_EQ(record["adapters"][0]["name"], "ot_lora");
  EXPECT_EQ(record["adapters"][0]["strength"], 0.8);
  const auto rerun = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"rerun", folder_ / "a.png", "--model", kModel};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  };
  EXPECT_EQ(rerun({"--lora", kKohya}).out, "equal: all 3072 pixels\n");
  EXPECT_EQ(rerun({"--lora-dir", loras_}).out, "equal: all 3072 pixels\n");  // under another name
  const Outcome none = rerun({});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_NE(none.err.find("ot_lora"), std::string::npos) << none.err;
  EXPECT_NE(none.err.find("--lora"), std::string::npos) << none.err;
  const Outcome other = rerun({"--lora", kDora});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_NE(other.err.find("none of the 1"), std::string::npos) << other.err;
}

TEST_F(Lora, WrongUseIsToldWithoutAPicture) {
  const auto refuses = [&](const std::vector<std::string>& more, int exit_code,
                           const std::string& text) {
    const Outcome outcome = run_program(picture(folder_ / "a.png", more));
    EXPECT_EQ(outcome.exit_code, exit_code) << text;
    EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
    EXPECT_FALSE(fs::exists(folder_ / "a.png"));
  };
  refuses({"-p", "a <lora:style>"}, 2, "--lora-dir");
  refuses({"-p", "a <lora:none>", "--lora-dir", loras_}, 1, "\"none\"");
  refuses({"-p", "a <lora:../loras/style>", "--lora-dir", loras_}, 1, "there is no LoRA");
  refuses({"-p", "a <lora:style:x>", "--lora-dir", loras_}, 2, "<lora:style:x>");
  refuses({"-p", "a <lora:style>", "--lora-dir", folder_ / "gone"}, 1, "there is no folder");
  refuses({"--lora", kKohya + ":1000"}, 2, "100");
  refuses({"--lora", folder_ / "gone.safetensors"}, 1, "there is no such file");
  // Of a model with other widths.
  const Outcome outcome = run_program(quick_run(folder_ / "a.png", {"--lora", kKohya}));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("made for another"), std::string::npos) << outcome.err;
}

TEST(LoraTags, AreTakenOutWithOneSpace) {
  const auto taken = [](std::string prompt) {
    take_lora_tags(prompt);
    return prompt;
  };
  EXPECT_EQ(taken("<lora:a>"), "");
  EXPECT_EQ(taken("a cat <lora:a:0.8>"), "a cat");
  EXPECT_EQ(taken("<lora:a:0.8> a cat"), "a cat");
  EXPECT_EQ(taken("a <lora:a:0.8> cat"), "a cat");
  EXPECT_EQ(taken("a cat,<lora:a><lora:b>"), "a cat,");
  EXPECT_EQ(taken("a <lora:unclosed"), "a <lora:unclosed");
  std::string prompt = "x <lora:a b:-0.25> y <lora:c>";
  const std::vector<NamedLora> loras = take_lora_tags(prompt);
  ASSERT_EQ(loras.size(), 2u);
  EXPECT_EQ(loras[0].name, "a b");
  EXPECT_EQ(loras[0].strength, -0.25);
  EXPECT_EQ(loras[1].strength, 1);
}

TEST_F(Lora, InfoNamesKindsAndRanks) {
  const Outcome outcome = run_program({"lora", "info", kDora, "--model", kModel, "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json info = outcome.json();
  EXPECT_EQ(info["kinds"]["LoRA with DoRA by rows"], 10);
  EXPECT_EQ(info["ranks"][0]["rank"], 4);
  EXPECT_EQ(info["scales"][0]["scale"], 1.0);
  EXPECT_EQ(info["used_keys"], 30);
}

/// The model is bf16: merged weights are rounded once, which products beside them are not.
TEST_F(Lora, MergedModelsDrawAlmostTheSame) {
  for (const std::string& path : {kKohya, kDora}) {
    const std::string merged = folder_ / ("m" + std::to_string(path.size()));
    expect_run({"lora", "merge", path, "--model", kModel, "--output", merged});
    expect_run(picture(folder_ / "beside.png", {"--lora", path}));
    expect_run(picture(folder_ / "merged.png", {}, merged));
    const auto beside = pixels(folder_ / "beside.png"), into = pixels(folder_ / "merged.png");
    int largest = 0;
    for (std::size_t i = 0; i < beside.size(); ++i)
      largest = std::max(largest, std::abs(int{beside[i]} - int{into[i]}));
    EXPECT_LE(largest, 8) << path;
    EXPECT_NE(run_program({"lora", "merge", path, "--model", kModel, "--output", merged}).exit_code,
              0);
  }
}

TEST_F(Lora, ConvertedFilesDrawTheSame) {
  expect_run(picture(folder_ / "a.png", {"--lora", kKohya}));
  for (const char* naming : {"diffusers", "comfyui", "peft", "kohya", "original"}) {
    const std::string file =
        folder_ / (std::string(naming) + (naming == std::string("peft") ? "" : ".safetensors"));
    expect_run({"lora", "convert", kKohya, "--model", kModel, "--to", naming, "-o", file});
    expect_run(picture(folder_ / "b.png", {"--lora", file}));
    EXPECT_EQ(pixels(folder_ / "b.png"), pixels(folder_ / "a.png")) << naming;
  }
  const Outcome refused =
      run_program({"lora", "convert", adapter("lycoris_lokr/lycoris.safetensors"), "--model",
                   kModel, "--to", "diffusers", "-o", folder_ / "x.safetensors"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("no LoRA"), std::string::npos) << refused.err;
}

/// The difference of a merged model and its base is the adapter again, within bf16's rounding; of
/// full rank, all of it.
TEST_F(Lora, ExtractFindsWhatWasMerged) {
  const std::string merged = folder_ / "merged";
  const std::string extracted = folder_ / "e.safetensors";
  expect_run({"lora", "merge", kKohya, "--model", kModel, "--output", merged});
  expect_run(
      {"lora", "extract", "--tuned", merged, "--model", kModel, "--rank", "96", "-o", extracted});
  expect_run(picture(folder_ / "a.png", {}, merged));
  expect_run(picture(folder_ / "b.png", {"--lora", extracted}));
  expect_same_but_for_rounding(folder_ / "b.png", folder_ / "a.png");
  const Outcome nothing = run_program(
      {"lora", "extract", "--tuned", kModel, "--model", kModel, "-o", folder_ / "n.safetensors"});
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_NE(nothing.err.find("nothing to extract"), std::string::npos) << nothing.err;
}

TEST_F(Lora, ResizeKeepsTheScale) {
  const std::string same = folder_ / "same.safetensors", loha = folder_ / "loha.safetensors";
  expect_run({"lora", "resize", adapter("lycoris_loha/lycoris.safetensors"), "--model", kModel,
              "--rank", "96", "-o", loha});
  expect_run(picture(folder_ / "a.png", {"--lora", adapter("lycoris_loha/lycoris.safetensors")}));
  expect_run(picture(folder_ / "b.png", {"--lora", loha}));
  expect_same_but_for_rounding(folder_ / "b.png", folder_ / "a.png");
  expect_run(
      {"lora", "resize", kKohya, "--model", kModel, "--rank", "1", "--to", "kohya", "-o", same});
  const SafetensorsFile file = SafetensorsFile::open(same);
  const std::string name = "lora_unet_layers_0_mlp_up_proj";
  EXPECT_EQ(file.stored(name + ".lora_down.weight").shape[0], 1);
  const SafetensorsFile before = SafetensorsFile::open(kKohya);
  const auto scale = [&](const SafetensorsFile& of) {
    return to_float(of.tensor(name + ".alpha")).data<float>()[0] /
           static_cast<float>(of.stored(name + ".lora_down.weight").shape[0]);
  };
  EXPECT_FLOAT_EQ(scale(file), scale(before));
}

}  // namespace
}  // namespace ernie_image::cli_test
