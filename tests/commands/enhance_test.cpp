// The prompt enhancer through the program: golden texts, cache, a chat server, metadata.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <thread>

#include "core/half.h"
#include "io/image_file.h"
#include "program.h"
#include "support/golden.h"

namespace ernie_image::cli_test {
namespace {

using nlohmann::json;

std::vector<std::string> enhance(const std::string& prompt,
                                 const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"enhance", "--prompt", prompt, "--quiet"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

class GoldenEnhance : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenEnhance, GreedyIdsTextAndRenderingAreTheReferences) {
  const golden::Case expected(golden::data_path("reference/pe/" + GetParam()));
  const auto& inputs = expected.inputs();
  const std::string model = golden::data_path("reference/models/" + GetParam().substr(0, 6));
  const Outcome outcome = run_program(enhance(
      inputs["prompt"], {"--model", model, "--width", std::to_string(inputs["width"].get<int>()),
                         "--height", std::to_string(inputs["height"].get<int>()),
                         "--pe-temperature", "0", "--pe-cache", "off", "--json"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json result = outcome.json();
  EXPECT_EQ(result["rendered_prompt"], expected.json["rendered_text"]);
  EXPECT_EQ(result["text"], expected.json["enhanced_prompt_greedy_to_model_max_length"]);
  const Tensor ids = expected.tensors.tensor("greedy_ids");
  ASSERT_GE(result["ids"].size(), static_cast<std::size_t>(ids.size()));
  for (std::int64_t i = 0; i < ids.size(); ++i)
    EXPECT_EQ(result["ids"][static_cast<std::size_t>(i)], ids.data<std::int64_t>()[i]);
}

INSTANTIATE_TEST_SUITE_P(Reference, GoldenEnhance,
                         ::testing::Values("tiny_a/00", "tiny_a/03", "tiny_b/01", "tiny_b/02"),
                         [](const auto& param_info) {
                           return param_info.param.substr(0, 6) + param_info.param.substr(7);
                         });

TEST(Enhance, AClosedStandardOutputIsKnownBeforeTheWork) {
  for (const Stdout kind : {Stdout::closed, Stdout::broken_pipe}) {
    // A model that is not there would be the next thing to fail.
    const Outcome outcome =
        run_program(enhance("a dog", {"--model", "/nonexistent"}), {.standard_output = kind});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find("standard output"), std::string::npos) << outcome.err;
  }
}

TEST(Enhance, TakesAPromptByItselfOrFromStandardInput) {
  const std::string text = run_program(enhance("a dog")).out;
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(run_program({"enhance", "a dog", "--quiet"}).out, text);
  EXPECT_EQ(run_program({"enhance", "a dog", "--prompt", "a cat"}).exit_code, 2);
  EXPECT_EQ(run_program({"enhance"}).exit_code, 2);
}

TEST(Enhance, PrintsTheTextAloneAndStreamsTheSame) {
  const Outcome outcome = run_program(enhance("king of the jungle", {"--pe-cache", "off"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "an emoji of a lion on a purple background\n");
  EXPECT_EQ(outcome.err, "");
}

TEST(Enhance, Int8WeightsWriteTheSameCaption) {
  const Outcome outcome = run_program(enhance(
      "doggo, sky blue bg", {"--pe-cache", "off", "--pe-quant", "int8", "--pe-temperature", "0"}));
  EXPECT_EQ(outcome.out, "an emoji of a dog on a blue background\n") << outcome.err;
}

TEST(Enhance, SystemPromptComesFromTheFile) {
  const TemporaryFolder folder;
  write_bytes(folder / "system.txt", "Say something else.\n");
  const Outcome outcome = run_program(enhance(
      "doggo", {"--pe-cache", "off", "--json", "--pe-system-prompt", folder / "system.txt"}));
  const std::string rendered = outcome.json()["rendered_prompt"];
  EXPECT_NE(rendered.find("[SYSTEM_PROMPT]Say something else.[/SYSTEM_PROMPT]"), std::string::npos)
      << rendered;
}

TEST(Enhance, IsRefusedForAModelWithoutEnhancer) {
  const TemporaryFolder folder;
  std::filesystem::copy(golden::data_path("reference/models/tiny_a"), folder / "model",
                        std::filesystem::copy_options::recursive);
  std::filesystem::remove_all(folder / "model/pe");
  const Outcome outcome = run_program(enhance("x", {"--model", folder / "model"}));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("no prompt enhancer"), std::string::npos) << outcome.err;
}

class EnhanceCacheOf : public ::testing::Test {
 protected:
  json run(const std::string& prompt, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"--json", "--pe-cache", cache};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_program(enhance(prompt, arguments));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    err = outcome.err;
    return outcome.json();
  }
  std::filesystem::path only_entry() const {
    std::vector<std::filesystem::path> entries;
    for (const auto& entry : std::filesystem::directory_iterator(cache))
      entries.push_back(entry.path());
    EXPECT_EQ(entries.size(), 1u);
    return entries.front();
  }

  TemporaryFolder folder;
  std::string cache = folder / "cache";
  std::string err;  ///< of the last run
};

TEST_F(EnhanceCacheOf, TheSameQuestionIsAnsweredFromIt) {
  const json first = run("doggo");
  const json second = run("doggo");
  EXPECT_FALSE(first["cached"]);
  EXPECT_TRUE(second["cached"]);
  EXPECT_EQ(err.find("Warning: an enhanced prompt"), std::string::npos) << err;
  EXPECT_EQ(second["text"], first["text"]);
  EXPECT_EQ(second["ids"], first["ids"]);
}

TEST_F(EnhanceCacheOf, WhateverDecidesTheTextDecidesTheEntry) {
  run("doggo");
  for (const std::vector<std::string>& other : {std::vector<std::string>{"--pe-seed", "7"},
                                                {"--pe-temperature", "0.7"},
                                                {"--pe-top-p", "0.9"},
                                                {"--pe-top-k", "5"},
                                                {"--width", "128"},
                                                {"--pe-max-tokens", "9"},
                                                {"--dtype", "bf16"},
                                                {"--pe-quant", "int8"}}) {
    EXPECT_FALSE(run("doggo", other)["cached"]) << other[0];
  }
  EXPECT_FALSE(run("doggo ")["cached"]);
}

TEST_F(EnhanceCacheOf, DamagedEntriesAreWrittenAgain) {
  const json first = run("doggo");
  const std::string whole = read_bytes(only_entry());
  std::string changed = whole;
  changed.replace(changed.find("dog"), 3, "cat");
  for (const std::string& damaged :
       {std::string(), whole.substr(0, whole.size() / 2), std::string("[1, 2"), changed}) {
    write_bytes(only_entry(), damaged);
    const json again = run("doggo");
    EXPECT_FALSE(again["cached"]);
    const bool warned =
        err.find("Warning: an enhanced prompt that was kept is damaged") != std::string::npos;
    EXPECT_EQ(warned, !damaged.empty()) << err;
    EXPECT_EQ(again["text"], first["text"]);
    EXPECT_EQ(read_bytes(only_entry()), whole);
  }
}

TEST_F(EnhanceCacheOf, AnUnusableFolderIsNoError) {
  write_bytes(cache, "a file");
  EXPECT_FALSE(run("doggo")["cached"]);
  EXPECT_NE(err.find("Warning: an enhanced prompt cannot be kept"), std::string::npos) << err;
}

TEST_F(EnhanceCacheOf, TwoProcessesShareIt) {
  std::vector<std::unique_ptr<RunningProgram>> programs;
  for (int i = 0; i < 4; ++i)
    programs.push_back(std::make_unique<RunningProgram>(enhance("doggo", {"--pe-cache", cache})));
  std::set<std::string> texts;
  for (const auto& program : programs) texts.insert(program->wait().out);
  EXPECT_EQ(texts.size(), 1u);
  EXPECT_TRUE(run("doggo")["cached"]);
}

TEST(GenerateEnhanced, DrawsRecordsAndShowsTheNewPrompt) {
  const TemporaryFolder folder;
  const Outcome outcome = run_program({"generate", "-p", "king of the jungle", "--enhance",
                                       "--pe-cache", "off", "-o", folder / "lion.png", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string caption = "an emoji of a lion on a purple background";
  EXPECT_NE(outcome.err.find(caption), std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.json()["images"][0]["prompt"], caption);
  EXPECT_EQ(outcome.json()["images"][0]["original_prompt"], "king of the jungle");
  EXPECT_EQ(record_of(folder / "lion.png")["prompts"], json({caption}));
  EXPECT_EQ(record_of(folder / "lion.png")["original_prompts"], json({"king of the jungle"}));
  ASSERT_EQ(run_program({"generate", "-p", caption, "--no-enhance", "-o", folder / "direct.png"})
                .exit_code,
            0);
  EXPECT_EQ(read_image(folder / "lion.png").image.rgb, read_image(folder / "direct.png").image.rgb);
}

TEST(GenerateEnhanced, IsTheDefaultWhereTheModelCan) {
  const TemporaryFolder folder;
  const auto generate = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"generate",   "-p",  "king of the jungle",
                                          "--pe-cache", "off", "--steps",
                                          "1",          "-o",  folder / "a.png"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return record_of(folder / "a.png");
  };
  EXPECT_TRUE(generate({}).contains("original_prompts"));
  EXPECT_FALSE(generate({"--no-enhance"}).contains("original_prompts"));

  const std::string model = folder / "without";
  std::filesystem::copy(golden::data_path("reference/models/tiny_a"), model,
                        std::filesystem::copy_options::recursive);
  std::filesystem::remove_all(model + "/pe");
  const json record = generate({"--model", model, "-H", "32", "-W", "32"});
  EXPECT_EQ(record["prompts"], json({"king of the jungle"}));
}

TEST(GenerateEnhanced, RerunUsesTheKeptTextAndNeverDecodes) {
  const TemporaryFolder folder;
  const std::string model = folder / "model";
  std::filesystem::copy(golden::data_path("reference/models/tiny_a"), model,
                        std::filesystem::copy_options::recursive);
  ASSERT_EQ(run_program({"generate", "--model", model, "-p", "a cat", "--use-pe", "--pe-cache",
                         "off", "-H", "32", "-W", "32", "--steps", "1", "-o", folder / "cat.png"})
                .exit_code,
            0);
  // An enhancer that fails as soon as it runs; the content hash covers headers, which stay.
  write_bytes(model + "/pe_tokenizer/chat_template.jinja", "no template");
  const Outcome outcome = run_program({"rerun", folder / "cat.png", "--model", model});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
}

/// A copy of a small model, every weight of whose enhancer went through `edit`.
std::string copy_with_enhancer(
    const TemporaryFolder& folder, const std::string& name,
    const std::function<void(const std::string& tensor_name, Tensor& tensor)>& edit) {
  const std::string model = folder / name;
  std::filesystem::copy(golden::data_path("reference/models/" + name), model,
                        std::filesystem::copy_options::recursive);
  std::vector<std::pair<std::string, Tensor>> tensors;
  {
    const SafetensorsFile weights = SafetensorsFile::open(model + "/pe/model.safetensors");
    for (const std::string& tensor_name : weights.names()) {
      const Tensor mapped = weights.tensor(tensor_name);
      Tensor tensor = Tensor::host(mapped.dtype(), mapped.shape());
      std::copy_n(mapped.bytes(), mapped.size_bytes(), tensor.bytes());
      edit(tensor_name, tensor);
      tensors.emplace_back(tensor_name, tensor);
    }
  }
  write_safetensors(model + "/pe/model.safetensors", tensors);
  return model;
}

TEST(GenerateEnhanced, BytesThatAreNoTextAreReplacedAndSaid) {
  const TemporaryFolder folder;
  // Whatever the hidden states are, one of two tokens wins that stand for the bytes FE and FF.
  constexpr std::int64_t kTokenFe = 206, kTokenFf = 207;
  const std::string model =
      copy_with_enhancer(folder, "tiny_b", [](const std::string& name, Tensor& tensor) {
        if (name != "lm_head.weight") return;
        std::fill_n(tensor.bytes(), tensor.size_bytes(), std::byte{0});
        tensor.data<std::uint16_t>()[kTokenFe * tensor.dim(1)] = float_to_bf16(1);
        tensor.data<std::uint16_t>()[kTokenFf * tensor.dim(1)] = float_to_bf16(-1);
      });
  const Outcome outcome = run_program(
      {"generate", "--model", model, "-p", "doggo", "--pe-temperature", "0", "--pe-cache", "off",
       "--pe-max-tokens", "3", "--steps", "1", "-H", "32", "-W", "32", "-o", folder / "a.png"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("not UTF-8"), std::string::npos) << outcome.err;
  EXPECT_EQ(record_of(folder / "a.png")["prompts"], json({"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}));
}

TEST(GenerateEnhanced, EndlessAndEmptyTextsAreSaid) {
  const TemporaryFolder folder;
  const Outcome cut = run_program({"generate", "-p", "doggo", "--enhance", "--pe-cache", "off",
                                   "--pe-max-tokens", "2", "-o", folder / "a.png"});
  EXPECT_EQ(cut.exit_code, 0) << cut.err;
  EXPECT_NE(cut.err.find("cut off"), std::string::npos) << cut.err;

  // An enhancer whose first token is the end: the whole output layer but one row is lowered by the
  // norm's zero weight.
  const std::string model =
      copy_with_enhancer(folder, "tiny_a", [](const std::string& name, Tensor& tensor) {
        if (name == "model.norm.weight")  // all logits are 0, and the first id wins
          std::fill_n(tensor.bytes(), tensor.size_bytes(), std::byte{0});
      });
  std::string config = read_bytes(model + "/pe/config.json");
  config.replace(config.find("\"eos_token_id\": 2"), 17, "\"eos_token_id\": 0");
  write_bytes(model + "/pe/config.json", config);
  const Outcome empty =
      run_program({"generate", "--model", model, "-p", "doggo", "--enhance", "--pe-temperature",
                   "0", "--pe-cache", "off", "-H", "32", "-W", "32", "-o", folder / "b.png"});
  EXPECT_EQ(empty.exit_code, 1);
  EXPECT_NE(empty.err.find("wrote no text"), std::string::npos) << empty.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "b.png"));
}

/// chat_server.py, for as long as the test runs.
class ChatServer : public ::testing::Test {
 protected:
  ChatServer() {
    const std::string fifo = folder / "stdin";
    server_ = popen(("mkfifo '" + fifo + "' && exec python3 '" +
                     std::string(ERNIE_IMAGE_CHAT_SERVER) + "' < '" + fifo + "'")
                        .c_str(),
                    "r");
    while (!std::filesystem::exists(fifo))
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    input_.open(fifo);  // the server ends when this closes
    char line[32] = "";
    if (std::fgets(line, sizeof(line), server_) != nullptr) port_ = std::stoi(line);
  }
  ~ChatServer() override {
    input_.close();
    pclose(server_);
  }

  Outcome ask(const std::string& path, const std::vector<std::string>& more = {},
              const std::string& key = "secret-key") const {
    std::vector<std::string> arguments = {
        "--pe-cache", "off",      "--pe-model",
        "painter",    "--pe-url", "http://127.0.0.1:" + std::to_string(port_) + "/" + path};
    arguments.insert(arguments.end(), more.begin(), more.end());
    RunOptions options;
    options.environment = {"ERNIE_IMAGE_PE_API_KEY=" + key};
    return run_program(enhance("fox", arguments), options);
  }

  void expect_failure(const std::string& path, const std::string& part,
                      const std::vector<std::string>& more = {}) const {
    const Outcome outcome = ask(path, more);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }

  TemporaryFolder folder;

 private:
  std::FILE* server_ = nullptr;
  std::ofstream input_;
  int port_ = 0;
};

TEST_F(ChatServer, ItsAnswerIsTheText) {
  EXPECT_EQ(ask("ok").out, "A painter of fox by 64, system\n");
  EXPECT_EQ(ask("ok/v1").out, "A painter of fox by 64, system\n");
}

TEST_F(ChatServer, ItsErrorsAreSaidWithoutTheKey) {
  const Outcome refused = ask("ok", {}, "wrong-key");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("401"), std::string::npos) << refused.err;
  EXPECT_EQ(refused.err.find("wrong-key"), std::string::npos) << refused.err;
  expect_failure("failing", "out of memory on the server");
}

TEST_F(ChatServer, AnAnswerThatIsNoneIsAnError) {
  expect_failure("garbage", "not JSON");
  expect_failure("nochoices", "no choices");
  expect_failure("empty", "wrote no text");
  expect_failure("moved", "redirects");
}

TEST_F(ChatServer, ReasoningIsNoPartOfThePrompt) {
  for (const char* kind : {"think", "unopened"})
    EXPECT_EQ(ask(kind).out, "A painter of fox by 64, system\n") << kind;
  for (const char* kind : {"unclosed", "reasoning"})
    expect_failure(kind, "wrote its reasoning and no text");
}

TEST_F(ChatServer, AnErrorInASuccessIsOne) {
  expect_failure("error200", "the server refuses: \"model overloaded, key ***\"");
}

TEST_F(ChatServer, PartsAreJoinedAndCompressedAnswersRead) {
  for (const char* kind : {"parts", "gzip"})
    EXPECT_EQ(ask(kind).out, "A painter of fox by 64, system\n") << kind;
  expect_failure("badparts", "is no text");
}

TEST_F(ChatServer, WaitsNoLongerThanAsked) {
  expect_failure("hang", "within 1 seconds", {"--pe-timeout", "1"});
}

TEST(ChatAddress, WithoutServerOrOfAnotherKindIsAnError) {
  const Outcome refused =
      run_program(enhance("x", {"--pe-url", "http://127.0.0.1:1", "--pe-cache", "off"}));
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("is the server running?"), std::string::npos) << refused.err;
  EXPECT_EQ(refused.err.find("proxy"), std::string::npos) << refused.err;
  const Outcome through_proxy =
      run_program(enhance("x", {"--pe-url", "http://127.0.0.1:2", "--pe-cache", "off"}),
                  {.environment = {"http_proxy=http://127.0.0.1:1"}});
  EXPECT_NE(through_proxy.err.find("environment variable http_proxy"), std::string::npos)
      << through_proxy.err;
  EXPECT_EQ(run_program(enhance("x", {"--pe-url", "file:///etc/passwd"})).exit_code, 2);
}

}  // namespace
}  // namespace ernie_image::cli_test
