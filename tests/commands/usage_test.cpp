// Wrong command lines: exit code 2 (1 where the command line is fine but the world is not), one
// clear message, and no file.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "common/suggestion.h"
#include "program.h"

namespace ernie_image::cli_test {
namespace {

using Names = std::vector<std::string>;

struct WrongUsage {
  const char* name;
  Names arguments;
  const char* message;  ///< part of what must be said
};

void PrintTo(const WrongUsage& usage, std::ostream* out) { *out << usage.name; }

class Usage : public testing::TestWithParam<WrongUsage> {};

TEST_P(Usage, IsRefusedBeforeAnyWork) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program(GetParam().arguments, {.folder = folder.path().string()});
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find(GetParam().message), std::string::npos) << outcome.err;
  EXPECT_TRUE(folder.names().empty());
}

Names generate(const Names& more) {
  Names arguments = {"generate", "-p", "x", "-o", "a.png"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

INSTANTIATE_TEST_SUITE_P(
    All, Usage,
    testing::Values(
        WrongUsage{"NoCommand", {}, "name a command"},
        WrongUsage{"UnknownCommand", {"draw"}, "draw"},
        WrongUsage{"SlipInACommand", {"genrate", "-p", "x"}, "Did you mean generate?"},
        WrongUsage{"SlipInACommandOfACommand", {"lora", "exrtact"}, "Did you mean extract?"},
        WrongUsage{"SlipInAFlag", {"generate", "--promt", "x"}, "Did you mean --prompt?"},
        WrongUsage{
            "SlipInAFlagBesideAMissingOne", {"enhance", "--promt=x"}, "Did you mean --prompt?"},
        WrongUsage{"HelpOfASlip", {"help", "evla"}, "did you mean eval?"},
        WrongUsage{"UnknownFlag", generate({"--hight", "64"}), "--hight"},
        WrongUsage{"UnknownFlagAlone", {"generate", "x", "--sed", "7"}, "not expected: --sed\n"},
        WrongUsage{"UnknownCommandAlone", {"generat", "a fox"}, "no command generat\n"},
        WrongUsage{"NoPrompt", {"generate", "-o", "a.png"}, "Example: ernie-image generate"},
        WrongUsage{"NoValue", {"generate", "-p", "x", "-o"}, "--output"},
        WrongUsage{"NoExtension", {"generate", "-p", "x", "-o", "a"}, "or in / for a folder"},
        WrongUsage{"UnknownExtension", {"generate", "-p", "x", "-o", "a.bmp"}, ".webp"},
        WrongUsage{"OutputIsAFolder", {"generate", "-p", "x", "-o", "/.png/.."}, "png"},
        WrongUsage{"NumberInAnotherForm", {"generate", "-p", "x", "-o", "%5d.png"}, "%03d"},
        WrongUsage{"TwoNumbers", {"generate", "-p", "x", "-o", "%d-%d.png"}, "%03d"},
        WrongUsage{"HeightZero", generate({"-H", "0"}),
                   "--height: \"0\" is not a whole number from 1"},
        WrongUsage{"HeightNegative", generate({"-H", "-64"}), "--height"},
        WrongUsage{"WidthHuge", generate({"-W", "100000"}), "to 16384"},
        WrongUsage{"WidthNotDivisible", generate({"-W", "65"}), "64 and 80"},
        WrongUsage{"BothSidesNotDivisible", generate({"-H", "100", "-W", "65"}),
                   "height 100 does not divide by 16; the nearest valid sizes are 96 and 112; "
                   "width 65 does not divide by 16"},
        WrongUsage{"StepsZero", generate({"--steps", "0"}), "--num-steps"},
        WrongUsage{"StepsHuge", generate({"--steps", "1001"}), "to 1000"},
        WrongUsage{"StepsText", generate({"--steps", "many"}), "--num-steps"},
        WrongUsage{"GuidanceNegative", generate({"--cfg-scale", "-1"}), "--guidance-scale"},
        WrongUsage{"GuidanceNan", generate({"--cfg-scale", "nan"}), "--guidance-scale"},
        WrongUsage{"SeedNegative", generate({"-s", "-2"}), "random"},
        WrongUsage{"SeedHuge", generate({"-s", "18446744073709551616"}), "18446744073709551615"},
        WrongUsage{"SeedsDoNotFit", generate({"-s", "1,2,3"}), "3 seeds for 1 images"},
        WrongUsage{"NegativesDoNotFit", generate({"-n", "a", "-n", "b"}),
                   "2 negative prompts for 1"},
        WrongUsage{"TooManyImages", generate({"--num-images", "5000"}), "1 to 1024"},
        WrongUsage{"ThreadsZero", generate({"-t", "0"}), "--threads"},
        WrongUsage{"ThreadsHuge", generate({"-t", "1000000"}), "--threads"},
        WrongUsage{"UnknownDtype", generate({"--dtype", "fp16"}), "--dtype"},
        WrongUsage{"UnknownDevice", generate({"--device", "tpu"}), "--device"},
        WrongUsage{"UnknownKernels", generate({"--cpu-kernels", "mmx"}), "mmx"},
        WrongUsage{"MemoryLimitText", generate({"--memory-limit", "much"}), "6G"},
        WrongUsage{"QualityZero", generate({"--quality", "0"}), "--quality"},
        WrongUsage{"UnknownTrace", generate({"--trace", "all"}), "--trace"},
        WrongUsage{"TraceWithoutFile", generate({"--trace", "blocks"}), "--save-tensors"},
        WrongUsage{"PreviewIsNoPng", generate({"--preview", "b.jpg"}), "--preview"},
        WrongUsage{"SameFileTwice", generate({"--preview", "a.png"}), "twice"},
        WrongUsage{"PromptIsNotUtf8", {"generate", "-p", "a\xff", "-o", "a.png"}, "UTF-8"},
        WrongUsage{"NegativePromptIsNotUtf8", generate({"-n", "\xc3"}), "UTF-8"},
        WrongUsage{"StrayArgument", generate({"stray"}), "stray"},
        WrongUsage{"PromptWithoutQuotes",
                   {"generate", "a", "red", "apple", "--seed", "7"},
                   "put the prompt in quotes: \"a red apple\""},
        WrongUsage{"PromptOfAFlagWithoutQuotes",
                   {"generate", "-p", "a", "red", "apple"},
                   "put the prompt in quotes: \"a red apple\""},
        WrongUsage{"PromptToEnhanceWithoutQuotes",
                   {"enhance", "a", "fox"},
                   "put the prompt in quotes: \"a fox\""},
        WrongUsage{"TwoPromptsOfStandardInput",
                   {"generate", "-p", "-", "--prompt-file", "-", "-o", "a.png"},
                   "standard input (-) can be read once only"},
        WrongUsage{"EmptyStandardInput", {"generate", "-p", "-", "-o", "a.png"}, "is empty"},
        WrongUsage{"TwoPicturesToStandardOutput",
                   {"generate", "-p", "x", "-p", "y", "-o", "-"},
                   "standard output takes one picture, not 2"},
        WrongUsage{
            "PictureAndJsonToStandardOutput", {"generate", "x", "-o", "-", "--json"}, "--json"},
        WrongUsage{"OverwriteAndNot", generate({"--overwrite", "--no-overwrite"}), "--overwrite"},
        WrongUsage{"BatchAndPrompt", {"generate", "x", "--batch", "none.jsonl"}, "--batch"},
        WrongUsage{"EmptyBatch", {"generate", "--batch", "-"}, "has no picture"},
        WrongUsage{"RerunWithoutFile", {"rerun"}, "file"},
        WrongUsage{"BenchOfUnknownKernels", {"bench", "--cpu-kernels", "mmx"}, "mmx"},
        WrongUsage{"BenchOfUnknownOperation", {"bench", "--op", "linear,fft"}, "fft"},
        WrongUsage{"BenchOfUnknownDtype", {"bench", "--dtype", "fp16"}, "fp16"},
        WrongUsage{"BenchOfUnknownSize", {"bench", "--sizes", "300"}, "300"},
        WrongUsage{"TokenizeWithoutText", {"tokenize"}, "--text"},
        WrongUsage{"TokenizeTwoTexts", {"tokenize", "--text", "a", "--text-file", "b"}, "either"}),
    [](const auto& test) { return test.param.name; });

TEST(Help, ShowsEveryFlagAndExamples) {
  for (const Names& command :
       {Names{}, Names{"generate"}, Names{"rerun"}, Names{"tokenize"}, Names{"inspect"},
        Names{"devices"}, Names{"bench"}, Names{"quantize"}, Names{"worker"}, Names{"pull"}}) {
    Names arguments = command;
    arguments.push_back("--help");
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.exit_code, 0);
    Names by_name = command;
    by_name.insert(by_name.begin(), "help");
    EXPECT_EQ(run_program(by_name).out, outcome.out);
    const std::string example =
        "Examples:\n  ernie-image " + (command.empty() ? std::string("generate") : command[0]);
    EXPECT_NE(outcome.out.find(example), std::string::npos) << outcome.out;
    EXPECT_EQ(outcome.err, "");
  }
  const std::string help = run_program({"generate", "--help"}).out;
  for (const char* flag : {"--prompt",         "--prompt-file",  "--negative-prompt",
                           "--model",          "--height",       "--width",
                           "--num-steps",      "--steps",        "--num-inference-steps",
                           "--guidance-scale", "--cfg-scale",    "--seed",
                           "--num-images",     "--dtype",        "--device",
                           "--threads",        "--cpu-kernels",  "--memory-limit",
                           "--latents",        "--save-tensors", "--trace",
                           "--json",           "--output",       "--quality",
                           "--preview",        "--show",         "--quiet"}) {
    EXPECT_NE(help.find(flag), std::string::npos) << flag;
  }
}

TEST(Version, IsPrinted) {
  for (const char* flag : {"--version", "-v"}) {
    const Outcome outcome = run_program({flag});
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_TRUE(outcome.out.starts_with("ernie-image 0.")) << outcome.out;
  }
}

TEST(Nearest, IsASlipAwayOrBeginsAlike) {
  const std::vector<std::string> names = {"generate", "quantize",      "eval",       "serve",
                                          "--prompt", "--prompt-file", "--pe-top-k", "--pe-top-p"};
  EXPECT_EQ(nearest("genreate", names), "generate");
  EXPECT_EQ(nearest("quantise", names), "quantize");
  EXPECT_EQ(nearest("--promt-file", names), "--prompt-file");
  EXPECT_EQ(nearest("gen", names), "generate");
  EXPECT_EQ(nearest("--pro", names), "--prompt");
  EXPECT_EQ(nearest("draw", names), "");
  EXPECT_EQ(nearest("x", names), "");
  EXPECT_EQ(nearest(std::string(100000, 'e'), names), "");
}

TEST(Failure, MissingOutputFolder) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program(quick_run(folder / "none/a.png"));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("there is no folder"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("ends in /"), std::string::npos) << outcome.err;
}

TEST(Failure, SizesAreCheckedBeforeThePromptIsEnhanced) {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_program({"generate", "x", "-H", "100", "--pe-cache", "off", "-o", folder / "a.png"});
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_EQ(outcome.err.find("Enhanced prompt"), std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find("expect noise"), std::string::npos) << outcome.err;
}

TEST(Failure, OfAFileNamesItsFlag) {
  const TemporaryFolder folder;
  write_bytes(folder / "in.png", "no picture");
  const std::string none = folder / "none";
  for (const Names& arguments :
       {Names{"generate", "x", "--image", none}, Names{"generate", "x", "--latents", none},
        Names{"generate", "x", "--lora", none}, Names{"generate", "x", "--lora", folder / "in.png"},
        Names{"generate", "x", "--image", folder / "in.png"}, Names{"generate", "--batch", none},
        Names{"generate", "--prompt-file", none},
        Names{"generate", "x", "--pe-system-prompt", none}, Names{"eval", "--prompt-file", none},
        Names{"eval", "--compare", none, none}, Names{"tokenize", "--text-file", none},
        Names{"tokenize", "--text", "x", "--tokenizer", none},
        Names{"serve", "--port", "0", "--no-save", "--api-key-file", none}}) {
    const Outcome outcome = run_program(arguments, {.folder = folder.path().string()});
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    std::string flag;
    for (const std::string& word : arguments) flag = word.starts_with("--") ? word : flag;
    EXPECT_NE(outcome.err.find("ernie-image: " + flag + ": "), std::string::npos) << outcome.err;
  }
  EXPECT_EQ(folder.names(), Names({"in.png"}));
}

TEST(Failure, UnwritableOutputFolder) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const TemporaryFolder folder;
  std::filesystem::permissions(
      folder.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  EXPECT_EQ(run_program(quick_run(folder / "a.png")).exit_code, 1);
}

/// 1000 steps would take seconds: what is refused first takes none.
Outcome long_run(const std::string& output, const Names& more = {}) {
  Names arguments = quick_run(output, {"--steps", "1000"});
  arguments.erase(arguments.begin() + 4, arguments.begin() + 6);  // its own --steps
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

TEST(Failure, FormatsHaveLimitsThatAreKnownBefore) {
  const TemporaryFolder folder;
  Outcome outcome = long_run(folder / "a.webp", {"-W", "16384", "-H", "16"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("a.webp: a WebP has at most 16383 pixels a side"), std::string::npos)
      << outcome.err;
  outcome = run_program({"generate", "-p", std::string(33000, 'x'), "--no-enhance", "--steps",
                         "1000", "-o", folder / "a.jpg"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("does not fit into a JPEG"), std::string::npos) << outcome.err;
  EXPECT_TRUE(folder.names().empty());
}

TEST(Failure, ANameThatIsTooLong) {
  const TemporaryFolder folder;
  const Outcome outcome = long_run(folder / (std::string(300, 'a') + ".png"));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("has 304 bytes"), std::string::npos) << outcome.err;
}

TEST(Failure, AFileThatIsWriteProtected) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const TemporaryFolder folder;
  write_bytes(folder / "a.png", "old");
  std::filesystem::permissions(folder / "a.png", std::filesystem::perms::owner_read);
  const Outcome outcome = long_run(folder / "a.png");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("no permission to write to"), std::string::npos) << outcome.err;
  EXPECT_EQ(read_bytes(folder / "a.png"), "old");
}

TEST(Failure, ADiskThatIsFull) {
  const TemporaryFolder folder;
  const std::string path = folder.path().string();
  // In a namespace of its own, so that only root, or who may be it there, can.
  const std::string script = "mount -t tmpfs -o size=16k tmpfs '" + path +
                             "' && cat /dev/zero > '" + path + "/full'; " + ERNIE_IMAGE_PROGRAM +
                             " generate x --no-enhance --steps 1000 -o '" + path + "/a.png'";
  const std::string wrapped = "unshare -mr true 2> /dev/null || exit 77; unshare -mr sh -c \"" +
                              script + "\" 2> '" + path + ".err'";
  const int status = std::system(wrapped.c_str());
  const std::string said = read_bytes(path + ".err");
  std::filesystem::remove(path + ".err");
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no namespaces here";
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_NE(said.find("a.png: cannot write: No space left on device"), std::string::npos) << said;
  EXPECT_EQ(said.find("embedded model"), std::string::npos) << "a model was loaded first: " << said;
}

TEST(Failure, OutputThatCannotBeReplaced) {
  const Outcome outcome = run_program(quick_run("/proc/a.png"));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
}

TEST(Failure, MissingPromptFile) {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_program({"generate", "--prompt-file", folder / "none", "-o", folder / "a.png"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("none"), std::string::npos) << outcome.err;
}

TEST(Failure, PromptFileWithoutPrompts) {
  const TemporaryFolder folder;
  write_bytes(folder / "blank", "\n \n");
  EXPECT_EQ(run_program({"generate", "--prompt-file", folder / "blank", "-o", folder / "a.png"})
                .exit_code,
            2);
}

TEST(Failure, UnknownModel) {
  const TemporaryFolder folder;
  for (const std::string& model :
       {folder / "none", folder.path().string(), std::string("baidu/ERNIE-Image-Turbo")}) {
    const Outcome outcome = run_program(quick_run(folder / "a.png", {"-m", model}));
    EXPECT_EQ(outcome.exit_code, 1) << model;
    EXPECT_NE(outcome.err.find("ernie-image: "), std::string::npos) << outcome.err;
  }
  EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace ernie_image::cli_test
