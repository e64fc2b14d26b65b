// Where `ernie-image generate` gets its prompts from and what it calls its pictures.
#include <gtest/gtest.h>

#include <algorithm>

#include "common/output_paths.h"
#include "io/image_file.h"
#include "program.h"

namespace ernie_image::cli_test {
namespace {

using nlohmann::json;
using Names = std::vector<std::string>;

/// One step with the embedded model, in that folder.
Outcome generate_in(const TemporaryFolder& folder, const Names& more,
                    const std::string& input = "") {
  Names arguments = {"generate", "--no-enhance", "--steps", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments, {.input = input, .folder = folder.path().string()});
}

/// But for the date in front, since it may have changed.
Names without_dates(const TemporaryFolder& folder) {
  Names names;
  for (const std::string& name : folder.names()) {
    EXPECT_EQ(name.substr(4, 1) + name.substr(7, 1), "--") << name;
    names.push_back(name.substr(std::string("2026-11-30-").size()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(OutputNames, APromptAloneIsEnoughAndNothingIsReplaced) {
  const TemporaryFolder folder;
  for (const char* prompt : {"A red apple!", "a red apple", "help"})
    ASSERT_EQ(generate_in(folder, {prompt}).exit_code, 0);
  EXPECT_EQ(without_dates(folder), Names({"a-red-apple-2.png", "a-red-apple.png", "help.png"}));
}

TEST(OutputNames, OverwriteReplacesThem) {
  const TemporaryFolder folder;
  for (int i = 0; i < 2; ++i) ASSERT_EQ(generate_in(folder, {"a dog", "-p", "a cat"}).exit_code, 2);
  for (int i = 0; i < 2; ++i)
    ASSERT_EQ(generate_in(folder, {"a dog", "--overwrite", "--num-images", "2"}).exit_code, 0);
  EXPECT_EQ(without_dates(folder), Names({"a-dog-2.png", "a-dog.png"}));
}

TEST(OutputNames, AFolderIsMadeAndEachPromptNamesItsPicture) {
  const TemporaryFolder folder;
  ASSERT_EQ(generate_in(folder, {"-p", "a dog", "-p", "熊猫", "-o", "new/deep/"}).exit_code, 0);
  ASSERT_EQ(generate_in(folder, {"a dog", "-o", "new/deep"}).exit_code, 0);
  const std::string made = folder / "new/deep/";
  for (const char* name : {"a-dog", "熊猫", "a-dog-2"})
    EXPECT_EQ(read_image(made + today() + "-" + name + ".png").image.width_px, 64) << name;
}

TEST(OutputNames, StandardOutputReceivesThePictureAndNothingElse) {
  const TemporaryFolder folder;
  const Outcome outcome = generate_in(folder, {"a dog", "-o", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(folder.names().empty());
  write_bytes(folder / "a.png", outcome.out);
  EXPECT_EQ(read_image(folder / "a.png").image.width_px, 64);
  EXPECT_EQ(record_of(folder / "a.png")["prompts"], json({"a dog"}));
  EXPECT_NE(outcome.err.find("peak memory"), std::string::npos);
}

TEST(OutputNames, AFileIsKeptIfThatWasAskedFor) {
  const TemporaryFolder folder;
  write_bytes(folder / "a-2.png", "old");
  const Outcome outcome =
      generate_in(folder, {"a dog", "-o", "a.png", "--num-images", "2", "--no-overwrite"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("a-2.png is there already"), std::string::npos) << outcome.err;
  EXPECT_EQ(folder.names(), Names({"a-2.png"}));
  EXPECT_EQ(read_bytes(folder / "a-2.png"), "old");
}

TEST(Prompts, AllOfStandardInputIsOne) {
  const TemporaryFolder folder;
  ASSERT_EQ(generate_in(folder, {"-p", "-", "-o", "a.png"}, "# a dog\nand a cat\n").exit_code, 0);
  EXPECT_EQ(record_of(folder / "a.png")["prompts"], json({"# a dog\nand a cat"}));
}

TEST(Prompts, CommentsInFilesAreNone) {
  const TemporaryFolder folder;
  ASSERT_EQ(generate_in(folder, {"--prompt-file", "-", "-o", "a.png"}, "# dogs\na dog\n").exit_code,
            0);
  EXPECT_EQ(record_of(folder / "a.png")["prompts"], json({"a dog"}));
}

TEST(Prompts, ASeedOfMinusOneIsDrawn) {
  const TemporaryFolder folder;
  ASSERT_EQ(generate_in(folder, {"a dog", "--seed", "-1", "-o", "a.png"}).exit_code, 0);
  ASSERT_EQ(generate_in(folder, {"a dog", "--seed=-1", "-o", "b.png"}).exit_code, 0);
  EXPECT_NE(record_of(folder / "a.png")["seeds"], record_of(folder / "b.png")["seeds"]);
}

// ---- --batch

const std::string kBatch =
    "# two pictures\n"
    "{\"prompt\": \"a dog\", \"seed\": 7, \"width\": 32, \"output\": \"dog.png\"}\n"
    "\n"
    "{\"prompt\": \"a cat\", \"negative_prompt\": \"blue\", \"guidance_scale\": 2}\n";

TEST(Batch, DrawsEachPictureWithItsOwnSettings) {
  const TemporaryFolder folder;
  write_bytes(folder / "b.jsonl", kBatch);
  const Outcome outcome =
      generate_in(folder, {"--batch", "b.jsonl", "-o", "out/", "--height", "48", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json dog = record_of(folder / "out/dog.png"),
             cat = record_of(folder / "out/0002-a-cat.png");
  EXPECT_EQ(dog["seeds"], json({7}));
  EXPECT_EQ(dog["width"], 32);
  EXPECT_EQ(dog["height"], 48);
  EXPECT_EQ(cat["seeds"], json({42}));
  EXPECT_EQ(cat["width"], 64);
  EXPECT_EQ(cat["negative_prompts"], json({"blue"}));
  EXPECT_EQ(cat["guidance_scale"], 2.0);
  const std::size_t end = outcome.out.find('\n');
  EXPECT_EQ(json::parse(outcome.out.substr(0, end))["images"][0]["path"], "out/dog.png");
  EXPECT_EQ(json::parse(outcome.out.substr(end))["images"][0]["path"], "out/0002-a-cat.png");
}

TEST(Batch, GoesOnWhereItWasStopped) {
  const TemporaryFolder folder;
  write_bytes(folder / "b.jsonl", kBatch);
  const Names arguments = {"--batch", "b.jsonl", "-o", "p%02d.png"};
  ASSERT_EQ(generate_in(folder, arguments).exit_code, 0);
  EXPECT_EQ(folder.names(), Names({"b.jsonl", "dog.png", "p02.png"}));
  const std::string cat = read_bytes(folder / "p02.png");
  std::filesystem::remove(folder / "p02.png");
  const auto dog_time = std::filesystem::last_write_time(folder / "dog.png");
  const Outcome outcome = generate_in(folder, arguments);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("1 of 2 pictures are there already"), std::string::npos)
      << outcome.err;
  EXPECT_EQ(std::filesystem::last_write_time(folder / "dog.png"), dog_time);
  EXPECT_EQ(read_bytes(folder / "p02.png"), cat);
}

TEST(Batch, AnotherPictureOfThatNameIsNotTakenForIt) {
  const TemporaryFolder folder;
  write_bytes(folder / "b.jsonl", kBatch);
  const Names arguments = {"--batch", "b.jsonl", "-o", "p%02d.png"};
  ASSERT_EQ(generate_in(folder, {"a dog", "-o", "dog.png"}).exit_code, 0);
  const Outcome outcome = generate_in(folder, arguments);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("line 2: dog.png is there already"), std::string::npos) << outcome.err;
  EXPECT_EQ(folder.names(), Names({"b.jsonl", "dog.png"}));  // nothing was drawn before that
  EXPECT_EQ(generate_in(folder, {"--batch", "b.jsonl", "-o", "p%02d.png", "--overwrite"}).exit_code,
            0);
  EXPECT_EQ(record_of(folder / "dog.png")["seeds"], json({7}));
}

TEST(Batch, RefusesAWrongLineBeforeAnyWork) {
  for (const char* line : {"{\"prompt\": \"a\", \"stepps\": 1}", "{\"seed\": 1}", "[1]", "{",
                           "{\"prompt\": \"a\", \"width\": 0}", "{\"prompt\": \"a\", \"seed\": -1}",
                           "{\"prompt\": \"a\", \"output\": \"a.bmp\"}",
                           "{\"prompt\": \"a\", \"output\": \"none/a.png\"}",
                           "{\"prompt\": \"a\", \"output\": \"dog.png\"}"}) {
    const TemporaryFolder folder;
    write_bytes(folder / "b.jsonl", kBatch + line + "\n");
    const Outcome outcome = generate_in(folder, {"--batch", "b.jsonl"});
    EXPECT_NE(outcome.exit_code, 0) << line;
    EXPECT_TRUE(outcome.err.find("line 5") != std::string::npos ||
                outcome.err.find("a.bmp") != std::string::npos)
        << outcome.err;
    EXPECT_EQ(folder.names(), Names({"b.jsonl"})) << line;
  }
}

}  // namespace
}  // namespace ernie_image::cli_test
