// Flags from $XDG_CONFIG_HOME/ernie-image/config.toml.
#include <gtest/gtest.h>

#include "program.h"

namespace ernie_image::cli_test {
namespace {

using nlohmann::json;
using Names = std::vector<std::string>;

class Config : public testing::Test {
 protected:
  void write(const std::string& toml) {
    std::filesystem::create_directories(folder_ / "config/ernie-image");
    write_bytes(file(), toml);
  }
  std::string file() const { return folder_ / "config/ernie-image/config.toml"; }

  Outcome run(const Names& arguments) const {
    return run_program(arguments, {.environment = {"XDG_CONFIG_HOME=" + (folder_ / "config")},
                                   .folder = folder_.path().string()});
  }

  void expect_refused(const std::string& toml, const std::string& reason) {
    write(toml);
    const Outcome outcome = run({"generate", "a dog", "-o", "a.png"});
    EXPECT_EQ(outcome.exit_code, 2) << toml;
    EXPECT_NE(outcome.err.find(file() + ", line 1"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find(reason), std::string::npos) << outcome.err;
    EXPECT_FALSE(std::filesystem::exists(folder_ / "a.png"));
  }

  TemporaryFolder folder_;
};

TEST_F(Config, SetsFlagsOfEveryKindAndTheCommandLineComesFirst) {
  write(R"(
threads = 1
width = 48
memory_limit = "2GB"
[generate]
width = 32
num-steps = 1
guidance-scale = 1.5
enhance = false
json = true
negative-prompt = ["blue"]
height = 48
[rerun]
quiet = true
)");
  const Outcome outcome = run({"generate", "a dog", "-o", "a.png", "-H", "32"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.json()["width"], 32);   // its own table before the top
  EXPECT_EQ(outcome.json()["height"], 32);  // the command line before all
  const json record = record_of(folder_ / "a.png");
  EXPECT_EQ(record["guidance_scale"], 1.5);
  EXPECT_EQ(record["num_inference_steps"], 1);
  EXPECT_EQ(record["negative_prompts"], json({"blue"}));
  EXPECT_EQ(record["memory_limit_bytes"], std::uint64_t{2} << 30);
  EXPECT_FALSE(record.contains("original_prompts"));
}

TEST_F(Config, ASwitchOfTheCommandLineBeatsItsOpposite) {
  write("[generate]\nenhance = true\nsteps = 1\noverwrite = false\n");
  write_bytes(folder_ / "a.png", "old");
  ASSERT_EQ(run({"generate", "a dog", "-o", "a.png", "--no-enhance"}).exit_code, 1);
  ASSERT_EQ(run({"generate", "a dog", "-o", "a.png", "--no-enhance", "--overwrite"}).exit_code, 0);
  EXPECT_EQ(record_of(folder_ / "a.png")["original_prompts"], json());
}

TEST_F(Config, OfACommandOfACommand) {
  write("[lora.resize]\nrank = 0\n");
  const Outcome outcome = run({"lora", "resize", "none.safetensors", "-o", "x.safetensors"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("line 2: --rank: \"0\""), std::string::npos) << outcome.err;
}

TEST_F(Config, AnotherFileOrNone) {
  write("[generate]\nsteps = 2\nenhance = false\n");
  write_bytes(folder_ / "other.toml", "[generate]\nsteps = 1\nenhance = false\n");
  ASSERT_EQ(run({"--config", "other.toml", "generate", "a dog", "-o", "a.png"}).exit_code, 0);
  EXPECT_EQ(record_of(folder_ / "a.png")["num_inference_steps"], 1);
  ASSERT_EQ(run({"--config=", "generate", "a dog", "-o", "a.png", "--no-enhance"}).exit_code, 0);
  EXPECT_EQ(record_of(folder_ / "a.png")["num_inference_steps"], 8);
  EXPECT_EQ(run({"--config", "none.toml", "generate", "a dog", "-o", "a.png"}).exit_code, 2);
}

TEST_F(Config, RefusesWhatIsNoFlagAndNoValueOfOne) {
  expect_refused("stepps = 1", "\"stepps\" is not the name of a flag; did you mean steps?");
  expect_refused("generate.width = 0", "--width: \"0\" is not a whole number");
  expect_refused("generate.width = true", "--width takes a text or a number");
  expect_refused("generate.width = [1, 2]", "--width takes a text or a number");
  expect_refused("generate.json = \"yes\"", "--json is a switch");
  expect_refused("generate.dtype = \"fp16\"", "--dtype");
  expect_refused("genrate.width = 64",
                 "\"genrate\" is not the name of a command; did you mean generate?");
  expect_refused("steps = ", "no TOML");
  expect_refused("a = " + std::string(100000, '['), "no TOML");
  expect_refused("serve.nothing = 1", "\"nothing\"");
}

TEST_F(Config, AFileThatIsTooLargeIsRefused) {
  write(std::string(2 << 20, '\n'));
  EXPECT_EQ(run({"generate", "a dog", "-o", "a.png"}).exit_code, 2);
}

}  // namespace
}  // namespace ernie_image::cli_test
