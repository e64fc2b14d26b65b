// `ernie-image quantize`, and the other commands on what it writes.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "io/image_file.h"
#include "program.h"

namespace ernie_image::cli_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kModels = std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/";
const std::string kAll = "transformer,text_encoder,pe";

Outcome quantize(const std::string& model, const std::string& output,
                 const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"quantize", "--model", model, "--output", output};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

std::vector<std::string> picture(const std::string& model, const std::string& output,
                                 const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"--model", model, "-W", "64", "-H", "64"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return quick_run(output, arguments);
}

TEST(Quantize, WritesAModelThatInspectAndGenerateUnderstand) {
  for (const std::string& model : {std::string("embedded:emoji-tiny"), kModels + "tiny_b"}) {
    for (const char* format : {"int8", "int4"}) {
      const TemporaryFolder folder;
      const Outcome outcome = quantize(model == "embedded:emoji-tiny" ? "" : model, folder / "q",
                                       {"--quant", format, "--components", kAll, "--json"});
      ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
      EXPECT_EQ(outcome.json()["components"].size(), 3u);
      const json report = run_program({"inspect", folder / "q", "--verify", "--json"}).json();
      EXPECT_FALSE(report.contains("problem")) << report["problem"];
      EXPECT_EQ(report["verification"]["damaged"], json::array());
      std::size_t packed = 0;
      for (const json& component : report["components"]) {
        if (component["name"] == "vae") {
          EXPECT_TRUE(component["packed_bytes"].empty());
        } else {
          EXPECT_GT(component["packed_bytes"][format], 0) << component;
          for (const char* kind : {"int8", "int4"})
            packed += component["dtypes"].value(kind, std::size_t{0});
        }
      }
      EXPECT_EQ(outcome.json()["packed_tensors"], packed);
      const Outcome run = run_program(picture(folder / "q", folder / "a.png"));
      EXPECT_EQ(run.exit_code, 0) << run.err;
      EXPECT_EQ(run_program({"rerun", folder / "a.png", "--model", folder / "q"}).out,
                "equal: all 4096 pixels\n");
    }
  }
}

TEST(Quantize, LeavesTheRestPlainByDefault) {
  const TemporaryFolder folder;
  ASSERT_EQ(quantize(kModels + "tiny_a", folder / "q", {"--quant", "int8", "-q"}).exit_code, 0);
  const std::string text = run_program({"inspect", folder / "q"}).out;
  EXPECT_NE(text.find("int8 x "), std::string::npos) << text;
  const json report = run_program({"inspect", folder / "q", "--json"}).json();
  for (const json& component : report["components"])
    EXPECT_EQ(component["packed_bytes"].empty(), component["name"] != "transformer") << component;
}

TEST(Quantize, DrawsTheSamePictureAsQuantisingWhileLoading) {
  for (const std::string& model : {std::string("embedded:emoji-tiny"), kModels + "tiny_b"}) {
    const std::string source = model == "embedded:emoji-tiny" ? "" : model;
    for (const std::string format : {"int8", "int4"}) {
      const TemporaryFolder folder;
      ASSERT_EQ(quantize(source, folder / "q", {"--quant", format}).exit_code, 0);
      const auto draw = [&](const std::string& from, const std::vector<std::string>& more) {
        const Outcome outcome = run_program(picture(from, folder / "a.png", more));
        EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
        return read_image(folder / "a.png").image.rgb;
      };
      const auto expected = draw(source, {"--quant", format});
      EXPECT_EQ(draw(folder / "q", {}), expected) << model << " " << format;
      EXPECT_EQ(draw(folder / "q", {"--quant", format}), expected) << "it is that already";
      EXPECT_NE(draw(source, {}), expected) << "or nothing was quantised";
    }
  }
}

TEST(Quantize, EnhancerWritesWhatItsSourceQuantisedWrites) {
  const TemporaryFolder folder;
  ASSERT_EQ(quantize("", folder / "q", {"--quant", "int8", "--components", "pe"}).exit_code, 0);
  const auto ids = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "enhance", "-p", "doggo, sky blue bg", "--json", "--pe-cache",      "off", "-W", "64",
        "-H",      "64", "--pe-quant",         "int8",   "--pe-max-tokens", "24"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.json()["ids"];
  };
  EXPECT_EQ(ids({"--model", folder / "q"}), ids({}));
}

TEST(Quantize, OtherQuantizationThanThatOfTheFolderIsRefused) {
  const TemporaryFolder folder;
  ASSERT_EQ(quantize("", folder / "q", {"--quant", "int8", "--components", kAll}).exit_code, 0);
  const Outcome outcome = run_program({"enhance", "-p", "a dog", "--model", folder / "q",
                                       "--pe-cache", "off", "--pe-quant", "int4"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("quantised to int8"), std::string::npos) << outcome.err;
}

TEST(Quantize, VerifyFindsDamage) {
  const TemporaryFolder folder;
  ASSERT_EQ(quantize(kModels + "tiny_a", folder / "q", {"--quant", "int8"}).exit_code, 0);
  const std::string file = folder / "q/transformer/diffusion_pytorch_model.safetensors";
  std::string bytes = read_bytes(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_bytes(file, bytes);
  EXPECT_EQ(run_program({"inspect", folder / "q"}).exit_code, 0) << "not read at every load";
  const Outcome outcome = run_program({"inspect", folder / "q", "--verify"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.out.find("1 damaged"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("transformer/diffusion_pytorch_model.safetensors: its SHA-256"),
            std::string::npos)
      << outcome.out;
  const Outcome plain = run_program({"inspect", kModels + "tiny_a", "--verify"});
  EXPECT_EQ(plain.exit_code, 1);
  EXPECT_NE(plain.err.find("quantization.json"), std::string::npos) << plain.err;
}

TEST(Quantize, RefusesWhatItCannotDo) {
  const TemporaryFolder folder;
  const std::string source = kModels + "tiny_a";
  EXPECT_EQ(quantize(source, folder / "q").exit_code, 2) << "no --quant";
  EXPECT_EQ(quantize(source, folder / "q", {"--quant", "none"}).exit_code, 2);
  EXPECT_EQ(quantize(source, folder / "q", {"--quant", "int3"}).exit_code, 2);
  for (const char* list : {"vae", "transformer,vae", "", "transformer,", ",pe", "Transformer"}) {
    const Outcome outcome =
        quantize(source, folder / "q", {"--quant", "int8", std::string("--components=") + list});
    EXPECT_EQ(outcome.exit_code, 2) << list;
    EXPECT_NE(outcome.err.find("--components"), std::string::npos) << outcome.err;
  }
  EXPECT_EQ(quantize("/none", folder / "q", {"--quant", "int8"}).exit_code, 1);
  EXPECT_TRUE(folder.names().empty());
  ASSERT_EQ(quantize(source, folder / "q", {"--quant", "int8"}).exit_code, 0);
  const Outcome again = quantize(source, folder / "q", {"--quant", "int8"});
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_NE(again.err.find("--force"), std::string::npos) << again.err;
  EXPECT_EQ(quantize(source, folder / "q", {"--quant", "int4", "--force"}).exit_code, 0);
  EXPECT_EQ(quantize(folder / "q", folder / "r", {"--quant", "int4"}).exit_code, 2);
}

TEST(Quantize, AnInterruptedRunGoesOn) {
  const TemporaryFolder folder;
  const std::vector<std::string> arguments = {
      "quantize", "--quant",   "int4", "--output",         folder / "q", "--components",
      kAll,       "--threads", "1",    "--max-shard-size", "200000",     "--json"};
  {
    RunningProgram program(arguments);
    for (int i = 0; i < 5000 && !fs::exists(folder / "q/transformer"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(program.pid(), SIGINT);
    const Outcome outcome = program.wait();
    ASSERT_EQ(outcome.exit_code, 130) << outcome.err;
    EXPECT_NE(outcome.err.find("cancelled"), std::string::npos) << outcome.err;
  }
  EXPECT_FALSE(fs::exists(folder / "q/model_index.json"));
  for (const auto& entry : fs::recursive_directory_iterator(folder / "q"))
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
  EXPECT_EQ(run_program(picture(folder / "q", folder / "a.png")).exit_code, 1) << "no model yet";
  const Outcome outcome = run_program(arguments);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_GT(outcome.json()["kept_files"], 0);
  EXPECT_EQ(run_program({"inspect", folder / "q", "--verify"}).exit_code, 0);
}

}  // namespace
}  // namespace ernie_image::cli_test
