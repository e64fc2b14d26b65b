#include "commands/commands.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "backend/registry.h"
#include "commands/device_report.h"
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
    "  ernie-image devices --verify cuda --cuda-attention own\n"
    "  ernie-image devices --report report.json\n"
    "  ernie-image devices --from-report report.json";

std::string state_of(const DeviceInfo::Operation& operation) {
  if (operation.present) return "present";
  if (operation.alternative.empty()) return "absent, and needed";
  return "absent, fallback: " + operation.alternative;
}

std::string card_text(const std::string& kind, const DeviceInfo::Card& card) {
  std::string text = kind + ":" + std::to_string(card.index) + ": " + visible(card.name) + ", ";
  if (card.compute_capability != 0)
    text += "compute capability " + std::to_string(card.compute_capability / 10) + "." +
            std::to_string(card.compute_capability % 10) + ", ";
  return text + human_bytes(card.free_bytes) + " of " + human_bytes(card.total_bytes) + " free\n";
}

/// Operations where some may be absent, else the libraries.
std::string cards_text(const std::string& kind, const DeviceInfo& info) {
  std::string text;
  for (const DeviceInfo::Card& card : info.cards) text += card_text(kind, card);
  if (!info.problem.empty()) text += kind + ": none; " + visible(info.problem) + "\n";
  for (const std::string& note : info.notes) text += "  note: " + visible(note) + "\n";
  if (info.operations) {
    for (const DeviceInfo::Operation& operation : *info.operations)
      text += "  " + operation.name + ": " + state_of(operation) + "\n";
  } else {
    for (const std::string& library : info.libraries) text += "  " + visible(library) + "\n";
  }
  return text;
}

nlohmann::json card_json(const std::string& kind, const DeviceInfo::Card& card) {
  nlohmann::json result = {{"name", kind + ":" + std::to_string(card.index)},
                           {"chip", card.name},
                           {"free_bytes", card.free_bytes},
                           {"total_bytes", card.total_bytes}};
  if (card.compute_capability != 0) result["compute_capability"] = card.compute_capability;
  return result;
}

nlohmann::json cards_json(const std::string& kind, const DeviceInfo& info) {
  nlohmann::json result = {
      {"problem", info.problem}, {"libraries", info.libraries}, {"cards", nlohmann::json::array()}};
  for (const DeviceInfo::Card& card : info.cards) result["cards"].push_back(card_json(kind, card));
  if (info.path) result["path"] = *info.path;
  if (!info.release.empty()) result["release"] = info.release;
  if (!info.notes.empty()) result["notes"] = info.notes;
  if (!info.operations) return result;
  result["operations"] = nlohmann::json::object();
  for (const DeviceInfo::Operation& operation : *info.operations)
    result["operations"][operation.name] = state_of(operation);
  return result;
}

void print_devices_json() {
  const std::vector<std::string> kernels = cpu_kernel_names();
  nlohmann::json result = {{"devices",
                            {{{"name", "cpu"},
                              {"threads", available_cpus()},
                              {"cpu_kernels", kernels},
                              {"chosen_cpu_kernels", kernels.front()}}}}};
  for (const DeviceKind* kind : device_kinds()) {
    if (kind->has_cards) result[kind->name] = cards_json(kind->name, kind->info());
  }
  print_json(result);
}

int run_devices(bool as_json) {
  if (as_json) {
    print_devices_json();
    return kExitSuccess;
  }
  const std::vector<std::string> kernels = cpu_kernel_names();
  std::string text = "cpu: " + std::to_string(available_cpus()) + " threads, kernels";
  for (const std::string& name : kernels) text += " " + name;
  print(text + "; " + kernels.front() + " is used unless --cpu-kernels names another\n");
  for (const DeviceKind* kind : device_kinds()) {
    if (kind->has_cards) print(cards_text(kind->name, kind->info()));
  }
  return kExitSuccess;
}

/// "ascend", "cuda", or "cpu" if this machine has no card.
std::string first_card() {
  for (const DeviceKind* kind : device_kinds())
    if (kind->has_cards && !kind->info().cards.empty()) return kind->name;
  return "cpu";
}

nlohmann::json info_json(const std::string& device) {
  const DeviceKind& kind = device_kind(device);
  return cards_json(kind.name, kind.info());
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
  const auto report = std::make_shared<std::string>();
  app->add_option("--report", *report,
                  "write all that is to be known of the device to FILE: libraries, operations, "
                  "--verify, an evaluation at 256x256, timings; takes minutes")
      ->type_name("FILE");
  const auto parts =
      std::make_shared<std::vector<std::string>>(std::begin(kReportParts), std::end(kReportParts));
  app->add_option("--report-parts", *parts, "only these of verify, evaluation, timings, bench")
      ->delimiter(',')
      ->check(CLI::IsMember(*parts))
      ->type_name("PART,...");
  const auto shown = std::make_shared<std::string>();
  app->add_option("--from-report", *shown, "print what FILE, written by --report, says")
      ->type_name("FILE");
  const auto device_options = std::make_shared<DeviceOptions>();
  add_device_option_flags(*app, *device_options);
  app->footer(kDevicesExamples);
  return {app, [=] {
            if (!shown->empty()) return print_device_report(*shown);
            BackendOptions options;
            if (app->count("--verify") > 0 && !verify->empty()) options.device = *verify;
            options.device_options = *device_options;
            if (!report->empty()) {
              if (app->count("--verify") == 0) options.device = first_card();
              return write_device_report(options, info_json(options.device), *parts, *report);
            }
            return app->count("--verify") == 0 ? run_devices(*json) : verify_device(options, *json);
          }};
}

}  // namespace ernie_image
