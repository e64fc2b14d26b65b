// `ernie-image inspect` and `ernie-image devices`
#include <gtest/gtest.h>

#include "backend/cpu/cpu_backend.h"
#include "backend/registry.h"
#include "core/thread_pool.h"
#include "program.h"

namespace ernie_image::cli_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kTinyB = std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_b";

TEST(Inspect, DescribesTheEmbeddedModel) {
  const Outcome outcome = run_program({"inspect", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json report = outcome.json();
  EXPECT_EQ(report["name"], "emoji-tiny");
  EXPECT_EQ(report["content_hash"].get<std::string>().size(), 64u);
  EXPECT_EQ(
      report["defaults"],
      json({{"width", 64}, {"height", 64}, {"num_inference_steps", 8}, {"guidance_scale", 1.0}}));
  std::vector<std::string> names;
  for (const json& component : report["components"]) {
    names.push_back(component["name"]);
  }
  EXPECT_EQ(names, std::vector<std::string>({"text_encoder", "transformer", "vae", "pe"}));
  const json& transformer = report["components"][1];
  EXPECT_EQ(transformer["parameters"], 2818368);  // as trained
  EXPECT_EQ(transformer["bytes"], 2818368 * 2);
  EXPECT_EQ(transformer["tensors"], 68);
  EXPECT_EQ(transformer["dtypes"], json({{"BF16", 68}}));
  EXPECT_EQ(report["memory_plan"]["stages"].size(), 4u);
  EXPECT_GT(report["memory_plan"]["peak_activation_bytes"], 0);
}

TEST(Inspect, ListsTensors) {
  const json report = run_program({"inspect", kTinyB, "--json", "--tensors"}).json();
  const json& transformer = report["components"][1];
  EXPECT_EQ(transformer["tensor_list"].size(), transformer["tensors"].get<std::size_t>());
  EXPECT_EQ(transformer["tensor_list"][0]["dtype"], "BF16");
  const std::string text = run_program({"inspect", kTinyB, "--tensors"}).out;
  EXPECT_NE(text.find("x_embedder.proj.weight BF16 ["), std::string::npos) << text;
}

TEST(Inspect, PlansMoreMemoryForMorePixels) {
  const auto peak = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"inspect", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments).json()["memory_plan"]["peak_activation_bytes"].get<double>();
  };
  EXPECT_GT(peak({"-W", "256", "-H", "256"}), peak({"-W", "128", "-H", "128"}));
  EXPECT_LT(peak({"--dtype", "bf16", "-W", "256", "-H", "256"}), peak({"-W", "256", "-H", "256"}));
}

TEST(Inspect, PlansTheCopiesOfQuantisedWeights) {
  const auto transformer = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"inspect", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto report = run_program(arguments).json();
    for (const auto& stage : report["memory_plan"]["stages"])
      if (stage["name"] == "transformer") return stage;
    return nlohmann::json();
  };
  const auto plain = transformer({}), int8 = transformer({"--quant", "int8"}),
             int4 = transformer({"--quant", "int4"});
  EXPECT_EQ(plain["copied_bytes"], 0);
  EXPECT_GT(int8["copied_bytes"], int4["copied_bytes"]);
  EXPECT_LT(int4["copied_bytes"].get<double>(), 0.3 * plain["mapped_bytes"].get<double>());
  EXPECT_LT(int8["mapped_bytes"], plain["mapped_bytes"]);
}

TEST(Inspect, PlansForAMemoryLimit) {
  const auto plan = [](const std::string& limit) {
    return run_program(
               {"inspect", kTinyB, "-W", "64", "-H", "64", "--json", "--memory-limit", limit})
        .json()["memory_plan"];
  };
  const json wide = plan("1G");
  EXPECT_EQ(wide["limit_bytes"], 1u << 30);
  for (const json& stage : wide["stages"]) {
    EXPECT_TRUE(stage["fits"].get<bool>()) << stage;
    EXPECT_EQ(stage["streamed_layers"], 0) << stage;
  }
  const json narrow = plan("1M");
  for (const json& stage : narrow["stages"]) EXPECT_FALSE(stage["fits"].get<bool>()) << stage;
}

TEST(Inspect, SaysWhyAModelCannotBeUsed) {
  const TemporaryFolder folder;
  fs::copy(std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_a", folder / "m",
           fs::copy_options::recursive);
  const std::string config = folder / "m/transformer/config.json";
  json changed = json::parse(read_bytes(config));
  changed["num_layers"] = changed["num_layers"].get<int>() + 1;
  fs::permissions(config, fs::perms::owner_write, fs::perm_options::add);
  write_bytes(config, changed.dump());
  const Outcome outcome = run_program({"inspect", folder / "m"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.out.find("transformer"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("cannot be used"), std::string::npos) << outcome.out;
}

TEST(Inspect, RefusesAFolderThatIsNoModel) {
  const TemporaryFolder folder;
  EXPECT_EQ(run_program({"inspect", folder.path().string()}).exit_code, 1);
  EXPECT_EQ(run_program({"inspect", "/none"}).exit_code, 1);
}

TEST(Devices, ListsTheCpu) {
  const json device = run_program({"devices", "--json"}).json()["devices"].at(0);
  EXPECT_EQ(device["name"], "cpu");
  EXPECT_EQ(device["threads"], available_cpus());
  EXPECT_EQ(device["cpu_kernels"], json(cpu_kernel_names()));
  EXPECT_EQ(device["chosen_cpu_kernels"], cpu_kernel_names().front());
  EXPECT_TRUE(run_program({"devices"}).out.starts_with("cpu: "));
}

TEST(Devices, VerifyPrintsALineForEachOperationAndDType) {
  const auto outcome = run_program({"devices", "--verify", "cpu"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out;
  for (const std::string operation : {"linear ", "attention ", "conv2d ", "write_rows "}) {
    for (const std::string dtype : {"fp32", "bf16"}) {
      const std::size_t at = outcome.out.find("\n" + operation);
      ASSERT_NE(at, std::string::npos) << operation;
      EXPECT_NE(outcome.out.find(dtype, at), std::string::npos) << operation;
    }
  }
  EXPECT_TRUE(outcome.out.ends_with("all passed\n")) << outcome.out;
}

TEST(Devices, VerifyOfAnUnknownDeviceIsAnError) {
  const auto outcome = run_program({"devices", "--verify", "tpu"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("tpu"), std::string::npos) << outcome.err;
}

const std::string kFormats = std::string(ERNIE_IMAGE_TEST_DATA) + "/formats/";

TEST(InspectFile, DescribesAGgufByItself) {
  const Outcome outcome =
      run_program({"inspect", kFormats + "gguf/wide_mixed/dit_wide_mixed.gguf", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err << outcome.out;
  const json report = outcome.json();
  EXPECT_EQ(report["container"], "GGUF");
  ASSERT_EQ(report["parts"].size(), 1u);
  const json& part = report["parts"][0];
  EXPECT_EQ(part["component"], "transformer");
  for (const char* format : {"Q2_K", "Q6_K", "IQ4_XS", "MXFP4", "NVFP4"})
    EXPECT_EQ(part["formats"][format]["tensors"], 1) << format;
  EXPECT_EQ(report["missing"], json({"text_encoder", "vae", "tokenizer", "scheduler"}));
}

TEST(InspectFile, SaysWhatElseAFileIs) {
  const TemporaryFolder folder;
  const std::string header =
      R"({"layers.0.mlp.up_proj.lora_A.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  write_bytes(folder / "lora.safetensors", bytes + header + std::string(4, '\0'));
  const Outcome outcome = run_program({"inspect", folder / "lora.safetensors"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.out.find("LoRA"), std::string::npos) << outcome.out << outcome.err;
}

TEST(InspectFile, WithABaseItIsAModel) {
  const Outcome outcome = run_program(
      {"inspect", kFormats + "quant/comfy_fp8/comfy_fp8.safetensors", "--base", kTinyB, "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err << outcome.out;
  const json report = outcome.json();
  EXPECT_EQ(report["name"], "comfy_fp8");
  EXPECT_EQ(report["components"][1]["dtypes"]["fp8"], 14);
}

}  // namespace
}  // namespace ernie_image::cli_test
