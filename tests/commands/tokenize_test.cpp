// `ernie-image tokenize`
#include <gtest/gtest.h>

#include "program.h"

namespace ernie_image::cli_test {
namespace {

using nlohmann::json;

const json& golden() {
  static const json cases =
      json::parse(read_bytes(std::string(ERNIE_IMAGE_TEST_DATA) + "/emoji-tiny/golden.json"));
  return cases;
}

TEST(Tokenize, PrintsTheIdsOfTheReference) {
  for (const json& golden_case : golden()) {
    const Outcome outcome =
        run_program({"tokenize", "--text", golden_case["prompt"].get<std::string>(), "--json"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.json(), json({{"ids", golden_case["token_ids"]}}));
  }
}

TEST(Tokenize, PrintsPlainIds) {
  EXPECT_EQ(run_program({"tokenize", "--text", "a red apple"}).out, "1 84 324 474\n");
}

TEST(Tokenize, ReadsTextFromFileAndStandardInputAsItIs) {
  const TemporaryFolder folder;
  const std::string text = "熊猫 🐼\r\n two\n";
  write_bytes(folder / "t.txt", text);
  const std::string expected = run_program({"tokenize", "--text", text}).out;
  EXPECT_EQ(run_program({"tokenize", "--text-file", folder / "t.txt"}).out, expected);
  EXPECT_EQ(run_program({"tokenize", "--text-file", "-"}, {.input = text}).out, expected);
}

TEST(Tokenize, TakesATokenizerFileOrItsFolder) {
  const std::string folder = std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_a";
  const std::string expected = run_program({"tokenize", "-m", folder, "--text", "a fox"}).out;
  EXPECT_FALSE(expected.empty());
  for (const char* tokenizer : {"/tokenizer", "/tokenizer/tokenizer.json"}) {
    EXPECT_EQ(run_program({"tokenize", "--tokenizer", folder + tokenizer, "--text", "a fox"}).out,
              expected);
  }
}

TEST(Tokenize, RefusesInvalidUtf8) {
  const Outcome outcome = run_program({"tokenize", "--text", "a\xff"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
}

TEST(Tokenize, RefusesMissingFiles) {
  EXPECT_EQ(run_program({"tokenize", "--tokenizer", "/none", "--text", "a"}).exit_code, 1);
  EXPECT_EQ(run_program({"tokenize", "--text-file", "/none"}).exit_code, 1);
}

TEST(Tokenize, ModelAndTokenizerExcludeEachOther) {
  EXPECT_EQ(run_program({"tokenize", "-m", "a", "--tokenizer", "b", "--text", "c"}).exit_code, 2);
}

}  // namespace
}  // namespace ernie_image::cli_test
