// `ernie-image convert`, and the other commands on what it writes. What it does to weights:
// tests/pipeline/convert_test.cpp.
#include <gtest/gtest.h>

#include "io/image_file.h"
#include "program.h"

namespace ernie_image::cli_test {
namespace {

TEST(Convert, WritesAFileThatGenerateUnderstands) {
  const TemporaryFolder folder;
  const std::string gguf = folder / "toy.gguf";
  const Outcome outcome =
      run_program({"convert", "--to", "gguf", "--type", "Q8_0", "-o", gguf, "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const nlohmann::json file = outcome.json()["files"][0];
  EXPECT_EQ(file["path"], gguf);
  EXPECT_EQ(file["bytes"], std::filesystem::file_size(gguf));
  EXPECT_GT(file["types"]["Q8_0"], 0);
  const Outcome run =
      run_program(quick_run(folder / "a.png", {"--model", gguf, "--base", "embedded:emoji-tiny"}));
  EXPECT_EQ(run.exit_code, 0) << run.err;
}

TEST(Convert, AFolderDrawsWhatItsSourceDoes) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program({"convert", "--to", "diffusers", "-o", folder / "model"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("transformer"), std::string::npos) << outcome.err;
  const std::vector<std::string> size = {"-W", "64", "-H", "64", "--no-enhance"};
  ASSERT_EQ(run_program(quick_run(folder / "a.png", size)).exit_code, 0);
  std::vector<std::string> converted = size;
  converted.insert(converted.end(), {"--model", folder / "model"});
  const Outcome again = run_program(quick_run(folder / "b.png", converted));
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(read_image(folder / "b.png").image.rgb, read_image(folder / "a.png").image.rgb);
}

TEST(Convert, RefusesBeforeItWorks) {
  const TemporaryFolder folder;
  const std::string output = folder / "x";
  for (const std::vector<std::string>& flags :
       std::vector<std::vector<std::string>>{{"--to", "onnx"},
                                             {"--to", "gguf", "--type", "Q9"},
                                             {"--to", "gguf", "--components", "scheduler"},
                                             {"--to", "diffusers", "--components", "vae"}}) {
    std::vector<std::string> arguments = {"convert", "-o", output};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(flags[flags.size() - 2]), std::string::npos) << outcome.err;
  }
  EXPECT_FALSE(std::filesystem::exists(output));
}

}  // namespace
}  // namespace ernie_image::cli_test
