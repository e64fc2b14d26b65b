#include "commands/commands.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "backend/ascend/ascend_backend.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cuda_loader.h"
#include "commands/verify_report.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "common/flags.h"
#include "core/thread_pool.h"

namespace ernie_image {
namespace {

constexpr const char* kDevicesExamples =
    "Examples:\n"
    "  ernie-image devices\n"
    "  ernie-image devices --json\n"
    "  ernie-image devices --verify cpu\n"
    "  ernie-image devices --verify cuda --cuda-attention own";

std::string state_of(const AscendInfo::Operation& operation) {
  if (operation.present) return "present";
  if (operation.alternative.empty()) return "absent, and needed";
  return "absent, fallback: " + operation.alternative;
}

std::string ascend_text(const AscendInfo& info) {
  std::string text;
  for (const AscendInfo::Card& card : info.cards) {
    text += "ascend:" + std::to_string(card.index) + ": " + visible(card.name) + ", " +
            human_bytes(card.free_bytes) + " of " + human_bytes(card.total_bytes) + " free\n";
  }
  if (!info.problem.empty()) text += "ascend: none; " + visible(info.problem) + "\n";
  for (const AscendInfo::Operation& operation : info.operations) {
    text += "  " + operation.name + ": " + state_of(operation) + "\n";
  }
  return text;
}

nlohmann::json ascend_json(const AscendInfo& info) {
  nlohmann::json cards = nlohmann::json::array();
  for (const AscendInfo::Card& card : info.cards) {
    cards.push_back({{"name", "ascend:" + std::to_string(card.index)},
                     {"chip", card.name},
                     {"free_bytes", card.free_bytes},
                     {"total_bytes", card.total_bytes}});
  }
  nlohmann::json operations = nlohmann::json::object();
  for (const AscendInfo::Operation& operation : info.operations)
    operations[operation.name] = state_of(operation);
  return {{"problem", info.problem},
          {"libraries", info.libraries},
          {"cards", cards},
          {"operations", operations}};
}

std::string cuda_text(const CudaInfo& info) {
  std::string text;
  for (const CudaInfo::Card& card : info.cards) {
    text += "cuda:" + std::to_string(card.index) + ": " + visible(card.name) +
            ", compute capability " + std::to_string(card.capability / 10) + "." +
            std::to_string(card.capability % 10) + ", " + human_bytes(card.free_bytes) + " of " +
            human_bytes(card.total_bytes) + " free\n";
  }
  if (!info.problem.empty()) text += "cuda: none; " + visible(info.problem) + "\n";
  for (const std::string& library : info.libraries) text += "  " + visible(library) + "\n";
  return text;
}

nlohmann::json cuda_json(const CudaInfo& info) {
  nlohmann::json cards = nlohmann::json::array();
  for (const CudaInfo::Card& card : info.cards) {
    cards.push_back({{"name", "cuda:" + std::to_string(card.index)},
                     {"chip", card.name},
                     {"compute_capability", card.capability},
                     {"free_bytes", card.free_bytes},
                     {"total_bytes", card.total_bytes}});
  }
  return {{"problem", info.problem},
          {"path", info.path},
          {"libraries", info.libraries},
          {"cards", cards}};
}

int run_devices(bool as_json) {
  const std::vector<std::string> kernels = cpu_kernel_names();
  if (as_json) {
    print_json({{"devices",
                 {{{"name", "cpu"},
                   {"threads", available_cpus()},
                   {"cpu_kernels", kernels},
                   {"chosen_cpu_kernels", kernels.front()}}}},
                {"cuda", cuda_json(cuda_info())},
                {"ascend", ascend_json(ascend_info())}});
    return kExitSuccess;
  }
  std::string text = "cpu: " + std::to_string(available_cpus()) + " threads, kernels";
  for (const std::string& name : kernels) text += " " + name;
  print(text + "; " + kernels.front() + " is used unless --cpu-kernels names another\n");
  print(cuda_text(cuda_info()));
  print(ascend_text(ascend_info()));
  return kExitSuccess;
}

}  // namespace

Command add_devices_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("devices", "List devices and what they can do");
  const auto json = std::make_shared<bool>(false);
  app->add_flag("--json", *json, "print JSON");
  const auto verify = std::make_shared<std::string>();
  app->add_option("--verify", *verify,
                  "compute every operation on DEVICE (default: cpu) and compare it with double "
                  "precision; exit code 1 if any differs too much")
      ->expected(0, 1)
      ->default_str("cpu")
      ->type_name("[DEVICE]");
  const auto attention = std::make_shared<std::string>("auto");
  add_cuda_attention_flag(*app, *attention);
  app->footer(kDevicesExamples);
  return {app, [json, verify, attention, app] {
            if (app->count("--verify") == 0) return run_devices(*json);
            BackendOptions options;
            if (!verify->empty()) options.device = *verify;
            options.cuda_attention = *attention;
            return verify_device(options, *json);
          }};
}

}  // namespace ernie_image
