// What shells, the manual page and `pull` are given.
#include <gtest/gtest.h>

#include <cstdlib>

#include "program.h"

namespace ernie_image::cli_test {
namespace {

using Names = std::vector<std::string>;

/// What `shell`, if it is there, says about `script`, which finds the completion in ./completion.
class Completion : public testing::Test {
 protected:
  std::string ask(const std::string& shell, const std::string& script) {
    write_bytes(folder_ / "completion", run_program({"completion", shell}).out);
    write_bytes(folder_ / "script", script);
    const std::string command = "cd '" + folder_.path().string() + "' && " + shell +
                                (shell == "fish"  ? " --no-config"
                                 : shell == "zsh" ? " -f"
                                                  : "") +
                                " script > out 2>&1 < /dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0) << read_bytes(folder_ / "out");
    return read_bytes(folder_ / "out");
  }
  static bool has(const std::string& shell) {
    return std::system(("command -v " + shell + " > /dev/null").c_str()) == 0;
  }

  /// After these words and the beginning of another.
  std::string bash(const std::string& words) {
    return ask("bash", "source ./completion\nCOMP_WORDS=(" + words +
                           ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_ernie_image\n"
                           "echo \"${COMPREPLY[@]}\"\n");
  }

  TemporaryFolder folder_;
};

TEST_F(Completion, BashKnowsCommandsFlagsValuesAndFiles) {
  EXPECT_EQ(bash("ernie-image gen"), "generate\n");
  EXPECT_EQ(bash("ernie-image lora ex"), "extract\n");
  EXPECT_EQ(bash("ernie-image generate --num-s"), "--num-steps\n");
  EXPECT_EQ(bash("ernie-image generate --quant int"), "int8 int4\n");
  EXPECT_EQ(bash("ernie-image lora convert x --to kohy"), "kohya\n");
  EXPECT_EQ(bash("ernie-image completion ''"), "--help -h bash zsh fish\n");
  write_bytes(folder_ / "apple.png", "");
  EXPECT_EQ(bash("ernie-image rerun app"), "apple.png\n");
  EXPECT_EQ(bash("ernie-image generate --steps ''"), "\n");
}

TEST_F(Completion, ZshTakesTheScript) {
  if (!has("zsh")) GTEST_SKIP() << "no zsh here";
  EXPECT_EQ(ask("zsh",
                "autoload -U compinit; compinit -D -u\nsource ./completion\n"
                "print $_comps[ernie-image] ${+functions[_ernie_image_lora_merge]}\n"),
            "_ernie_image 1\n");
}

TEST_F(Completion, FishKnowsCommandsFlagsAndValues) {
  if (!has("fish")) GTEST_SKIP() << "no fish here";
  const auto fish = [this](const std::string& line) {
    return ask("fish", "source ./completion\ncomplete -C'" + line + "' | string split -f1 \\t\n");
  };
  EXPECT_EQ(fish("ernie-image gen"), "generate\n");
  EXPECT_EQ(fish("ernie-image lora ex"), "extract\n");
  EXPECT_EQ(fish("ernie-image generate --num-s"), "--num-steps\n");
  EXPECT_EQ(fish("ernie-image generate --quant int"), "int4\nint8\n");
}

TEST(Manual, HasEveryFlagOfEveryCommand) {
  const std::string page = run_program({"man"}).out;
  EXPECT_TRUE(page.starts_with(".TH ERNIE\\-IMAGE 1")) << page.substr(0, 100);
  for (const char* text :
       {"\\fB\\-\\-prompt\\-file\\fR \\fIFILE\\fR", "ernie\\-image lora merge",
        "\\fB\\-\\-memory\\-limit\\fR", "\\fB\\-\\-jobs\\-db\\fR", "config.toml"})
    EXPECT_NE(page.find(text), std::string::npos) << text;
}

// ---- pull

class Pull : public testing::Test {
 protected:
  /// A client that writes its arguments and address to ./calls and ends with that status.
  void install(const std::string& name, int status) {
    const std::string path = folder_ / ("bin/" + name);
    std::filesystem::create_directories(folder_ / "bin");
    write_bytes(path, "#!/bin/sh\necho \"" + name + " $* $HF_ENDPOINT $MODELSCOPE_ENDPOINT\" >> '" +
                          (folder_ / "calls") + "'\nexit " + std::to_string(status) + "\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  }

  Outcome pull(const Names& more) const {
    Names arguments = {"pull"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments, {.environment = {"PATH=" + (folder_ / "bin"),
                                                   "HF_HUB_CACHE=" + (folder_ / "cache")}});
  }
  std::string calls() const { return read_bytes(folder_ / "calls"); }

  TemporaryFolder folder_;
};

TEST_F(Pull, RunsTheInstalledClientAndPrintsTheFolder) {
  const std::string snapshot = folder_ / "cache/models--a--b/snapshots/1";
  std::filesystem::create_directories(snapshot);
  install("modelscope", 0);
  install("hf", 0);
  const Outcome outcome = pull({"a/b", "--mirror", "http://127.0.0.1:9/"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, snapshot + "\n");
  EXPECT_EQ(calls(), "hf download a/b http://127.0.0.1:9 \n");
  EXPECT_EQ(pull({"a/b", "--client", "modelscope", "--mirror", "http://127.0.0.1:9"}).exit_code, 0);
  EXPECT_NE(calls().find("modelscope download --model a/b  http://127.0.0.1:9\n"),
            std::string::npos)
      << calls();
}

TEST_F(Pull, SaysWhatIsWrong) {
  Outcome outcome = pull({"a/b"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("huggingface_hub or modelscope"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("python3 -m venv"), std::string::npos) << outcome.err;
  install("hf", 3);
  outcome = pull({"a/b"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("`hf download a/b` ended with status 3"), std::string::npos)
      << outcome.err;
  EXPECT_NE(outcome.err.find("--mirror"), std::string::npos);
  install("hf", 0);
  outcome = pull({"a/b"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("not where it is looked for"), std::string::npos) << outcome.err;
  EXPECT_EQ(pull({"a"}).exit_code, 2);
  EXPECT_EQ(pull({"a/../b"}).exit_code, 2);
  EXPECT_EQ(pull({"a/b", "--mirror", "hub.example.org"}).exit_code, 2);
}

}  // namespace
}  // namespace ernie_image::cli_test
