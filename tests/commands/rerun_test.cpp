// `ernie-image rerun`: the picture again from its own metadata.
#include <gtest/gtest.h>

#include <functional>

#include "io/image_file.h"
#include "program.h"
#include "support/golden.h"

namespace ernie_image::cli_test {
namespace {

using nlohmann::json;

class Rerun : public testing::Test {
 protected:
  void generate(const std::vector<std::string>& more = {}) {
    const Outcome outcome = run_program(quick_run(path_, more));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }

  /// Rewrites the picture with changed pixels or a changed record.
  void change(const std::function<void(ImageFile&)>& edit) {
    ImageFile file = read_image(path_);
    edit(file);
    const std::vector<std::uint8_t> bytes = encode_image(file.image, {}, file.metadata);
    write_bytes(path_, std::string(bytes.begin(), bytes.end()));
  }

  void change_record(const std::function<void(json&)>& edit) {
    change([&](ImageFile& file) {
      json record = json::parse(file.metadata.at("ernie_image"));
      edit(record);
      file.metadata["ernie_image"] = record.dump();
    });
  }

  void expect_impossible(const std::string& reason) {
    const Outcome outcome = run_program({"rerun", path_});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find(reason), std::string::npos) << outcome.err;
  }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "a.png";
};

TEST_F(Rerun, FindsEqualPixels) {
  generate();
  const Outcome outcome = run_program({"rerun", path_});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "equal: all 4096 pixels\n");
}

/// What README.md tells a reader to try, where the machine has the kernel set that the files name.
TEST(RerunOfReadme, ItsPicturesAreEqualToThePixel) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "another build of the same kernels";
#endif
  const std::string images = golden::data_path("../../docs/images/");
  for (const char* name : {"panda", "owl", "cactus"}) {
    const Outcome outcome = run_program({"rerun", images + name + ".png", "--json"});
    const json result = outcome.json();
    const json& other = result["differences_of_runs"];
    if (!other.empty()) GTEST_SKIP() << other.dump();
    EXPECT_EQ(outcome.exit_code, 0) << name << outcome.out;
  }
}

TEST_F(Rerun, MakesAnyImageOfABatchAgain) {
  generate({"-p", "熊猫", "--num-images", "2", "-n", "blue", "--cfg-scale", "2", "--dtype", "bf16",
            "-W", "32", "-H", "48", "--cpu-kernels", "portable", "-t", "1"});
  for (const char* name : {"a.png", "a-2.png", "a-3.png", "a-4.png"}) {
    const Outcome outcome = run_program({"rerun", folder_ / name, "--json"});
    EXPECT_EQ(outcome.exit_code, 0) << name << outcome.out << outcome.err;
    EXPECT_EQ(outcome.json()["equal"], true);
  }
}

TEST_F(Rerun, QuantisesAsThePictureWas) {
  for (const char* quantization : {"int8", "int4"}) {
    generate({"--quant", quantization});
    const Outcome outcome = run_program({"rerun", path_});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  }
}

TEST_F(Rerun, WritesThePictureAgain) {
  generate();
  ASSERT_EQ(run_program({"rerun", path_, "--output", folder_ / "again.png"}).exit_code, 0);
  const ImageFile again = read_image(folder_ / "again.png");
  EXPECT_EQ(again.image.rgb, read_image(path_).image.rgb);
  EXPECT_EQ(again.metadata, read_image(path_).metadata);
}

TEST_F(Rerun, TakesEveryFormat) {
  for (const char* name : {"a.jpg", "a.webp"}) {
    path_ = folder_ / name;
    generate({"--quality", "80"});
    const Outcome outcome = run_program({"rerun", path_});
    EXPECT_EQ(outcome.out, "equal: all 4096 pixels\n") << name << outcome.err;
    ImageFile file = read_image(path_);
    file.image.rgb.assign(file.image.rgb.size(), 7);
    const auto bytes = encode_image(file.image, file.encoding, file.metadata);
    write_bytes(path_, std::string(bytes.begin(), bytes.end()));
    EXPECT_EQ(run_program({"rerun", path_}).exit_code, 1) << name;
  }
}

TEST_F(Rerun, CountsDifferentPixels) {
  generate();
  change([](ImageFile& file) {  // the red of one pixel, the green of the next, the blue of a third
    for (const std::size_t value : {0, 4, 8}) file.image.rgb[value] ^= 3;
  });
  const Outcome outcome = run_program({"rerun", path_, "--json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.json()["equal"], false);
  EXPECT_EQ(outcome.json()["differing_pixels"], 3);
  EXPECT_TRUE(run_program({"rerun", path_}).out.starts_with("different: 3 of 4096 pixels, by at"));
}

TEST_F(Rerun, SaysWhatNoRecordTells) {
  generate();
  change([](ImageFile& file) { file.image.rgb[0] ^= 1; });
  std::string verdict = run_program({"rerun", path_}).out;
  EXPECT_NE(verdict.find("another processor or build of the program"), std::string::npos)
      << verdict;
  EXPECT_EQ(verdict.find("two text chunks"), std::string::npos) << verdict;
  change([](ImageFile& file) { file.metadata["parameters"][0] ^= 1; });
  verdict = run_program({"rerun", path_}).out;
  EXPECT_NE(verdict.find("two text chunks do not say the same"), std::string::npos) << verdict;
}

TEST_F(Rerun, RunsWithTheKernelsOfThePicture) {
  generate({"--cpu-kernels", "portable", "--dtype", "bf16"});
  change([](ImageFile& file) { file.image.rgb[0] ^= 1; });
  const std::string verdict = run_program({"rerun", path_}).out;
  EXPECT_NE(verdict.find("different: 1 of"), std::string::npos) << verdict;
  EXPECT_EQ(verdict.find("made with the CPU kernels"), std::string::npos) << verdict;
}

TEST_F(Rerun, ReadsPromptsThatLookLikeSettings) {
  const std::string prompt = "a sign\nNegative prompt: rain\nSteps: 3, Seed: 1\nSteps: none";
  generate({"-p", prompt});
  EXPECT_EQ(run_program({"rerun", folder_ / "a-2.png"}).exit_code, 0);
  EXPECT_EQ(record_of(folder_ / "a-2.png")["prompts"][1], prompt);
}

TEST_F(Rerun, FormatsOfTheNewPictureHaveLimitsThatAreKnownBefore) {
  const std::string long_prompt(33000, 'x');
  ASSERT_EQ(
      run_program({"generate", "-p", long_prompt, "--no-enhance", "--steps", "1", "-o", path_})
          .exit_code,
      0);
  const Outcome outcome = run_program({"rerun", path_, "-o", folder_ / "b.jpg"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
}

TEST_F(Rerun, SaysWhatElseIsDifferentAboutTheRun) {
  generate();
  change([](ImageFile& file) {
    json record = json::parse(file.metadata.at("ernie_image"));
    record["version"] = "9.9.9";
    record["cpu_kernels"] = "sve2";
    file.metadata["ernie_image"] = record.dump();
    file.image.rgb[0] ^= 1;
  });
  const std::string verdict = run_program({"rerun", path_}).out;
  EXPECT_NE(verdict.find("9.9.9"), std::string::npos) << verdict;
  EXPECT_NE(verdict.find("sve2"), std::string::npos) << verdict;
}

/// Options are looked at before the device is: no card is needed.
TEST_F(Rerun, TakesTheRecordedOptionsOfTheDevice) {
  generate();
  change_record([](json& record) {
    record["device"] = "cuda";
    record["device_options"] = {{"cuda_attention", "fast"}};
  });
  expect_impossible("--cuda-attention: \"fast\" is none of auto, cudnn and own");
  change_record([](json& record) { record["device_options"] = {{"speed", "fast"}}; });
  expect_impossible("no device of this build has an option \"speed\"");
  // Another device has no use for them.
  EXPECT_EQ(run_program({"rerun", path_, "--device", "cpu"}).exit_code, 0);
}

TEST_F(Rerun, RefusesAnotherModel) {
  generate();
  const std::string other = std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_a";
  const Outcome outcome = run_program({"rerun", path_, "--model", other});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("content hash"), std::string::npos) << outcome.err;
  change_record([](json& record) { record["model"]["content_hash"] = std::string(64, '0'); });
  expect_impossible("content hash");
}

TEST_F(Rerun, FindsTheEmbeddedModelBesideAnotherDefault) {
  generate();
  const std::string other = std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_a";
  EXPECT_EQ(
      run_program({"rerun", path_}, {.environment = {"ERNIE_IMAGE_MODEL=" + other}}).exit_code, 0);
}

TEST_F(Rerun, NeedsGivenLatentsAgain) {
  ASSERT_EQ(run_program(quick_run(path_, {"--save-tensors", folder_ / "t.safetensors"})).exit_code,
            0);
  generate({"--latents", folder_ / "t.safetensors", "--seed", "9"});
  const Outcome without = run_program({"rerun", path_});
  EXPECT_EQ(without.exit_code, 2);
  EXPECT_NE(without.err.find("pass --latents FILE"), std::string::npos) << without.err;
  EXPECT_EQ(run_program({"rerun", path_, "--latents", folder_ / "t.safetensors"}).exit_code, 0);
  run_program(
      quick_run(folder_ / "b.png", {"--seed", "1", "--save-tensors", folder_ / "u.safetensors"}));
  EXPECT_EQ(run_program({"rerun", path_, "--latents", folder_ / "u.safetensors"}).exit_code, 1);
}

TEST_F(Rerun, RefusesAPictureWithoutRecord) {
  generate();
  change([](ImageFile& file) { file.metadata.erase("ernie_image"); });
  expect_impossible("has no record of how it was made");
}

TEST_F(Rerun, RefusesHostileRecords) {
  generate();
  const std::string good = read_bytes(path_);
  for (const std::string& text :
       {std::string("{"), std::string("[]"), std::string("null"), std::string(50000, '[')}) {
    write_bytes(path_, good);
    change([&](ImageFile& file) { file.metadata["ernie_image"] = text; });
    expect_impossible("chunk ernie_image");
  }
  write_bytes(path_, good);
  change_record([](json& record) { record["device"] = "cuda:0\x1b[31m"; });
  expect_impossible("device");
  EXPECT_EQ(run_program({"rerun", path_}).err.find('\x1b'), std::string::npos);
  write_bytes(path_, good);
  change_record([](json& record) { record["width"] = 80; });
  expect_impossible("64x64");
}

TEST_F(Rerun, RefusesFilesThatAreNoPictures) {
  write_bytes(path_, "no picture");
  expect_impossible("a.png");
  std::filesystem::remove(path_);
  expect_impossible("a.png");
}

TEST_F(Rerun, RefusesATruncatedPicture) {
  generate();
  write_bytes(path_, read_bytes(path_).substr(0, 300));
  expect_impossible("a.png");
}

}  // namespace
}  // namespace ernie_image::cli_test
