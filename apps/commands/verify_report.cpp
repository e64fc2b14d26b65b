#include "commands/verify_report.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <vector>

#include <nlohmann/json.hpp>

#include "backend/gelu.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "core/enum_names.h"
#include "verify/conformance.h"

namespace ernie_image {
namespace {

/// All cases of one operation in one dtype.
struct Row {
  std::string operation;
  DType dtype;
  int cases = 0;
  double worst_error = 0;  // of the comparison nearest to its limit
  double limit = 0;
  double seconds = 0;
  std::vector<std::string> failures;
};

void run_case(const verify::ConformanceCase& conformance_case, Backend& ops, GeluForm gelu,
              Row& row) {
  const auto start = std::chrono::steady_clock::now();
  const verify::Outcome outcome = verify::run_case(conformance_case, ops, row.dtype, gelu);
  row.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ++row.cases;
  if (outcome.worst_error * std::max(row.limit, 1e-30) >=
      row.worst_error * std::max(outcome.limit, 1e-30)) {
    row.worst_error = outcome.worst_error;
    row.limit = outcome.limit;
  }
  for (const std::string& failure : outcome.failures)
    row.failures.push_back(std::string(conformance_case.behaviour) + ": " + failure);
}

std::string line(const Row& row) {
  char text[160];
  std::snprintf(text, sizeof(text), "%-20s %-5s %5d %12.2e %10.1e %9.3f  %s\n",
                row.operation.c_str(), name_of(precision_of(row.dtype)).c_str(), row.cases,
                row.worst_error, row.limit, row.seconds, row.failures.empty() ? "ok" : "FAILED");
  std::string lines = text;
  for (const std::string& failure : row.failures) lines += "    " + visible(failure) + "\n";
  return lines;
}

nlohmann::json to_json(const Row& row) {
  return {{"operation", row.operation}, {"dtype", name_of(precision_of(row.dtype))},
          {"cases", row.cases},         {"worst_error", row.worst_error},
          {"limit", row.limit},         {"seconds", row.seconds},
          {"failures", row.failures}};
}

Row run_row(const std::string& operation, DType dtype, Backend& ops, GeluForm gelu) {
  Row row{operation, dtype, 0, 0, 0, 0, {}};
  for (const verify::ConformanceCase& conformance_case : verify::conformance_cases()) {
    if (conformance_case.operation != operation) continue;
    if (dtype == DType::bf16 && conformance_case.f32_only) continue;
    run_case(conformance_case, ops, gelu, row);
  }
  return row;
}

std::vector<std::string> operations() {
  std::vector<std::string> names;
  for (const verify::ConformanceCase& conformance_case : verify::conformance_cases()) {
    if (std::ranges::find(names, conformance_case.operation) == names.end())
      names.emplace_back(conformance_case.operation);
  }
  return names;
}

std::string line(const DeviceTiming& timing) {
  std::string text = timing.what + " (" + timing.where + "):";
  for (const auto& [form, milliseconds] : timing.milliseconds) {
    char number[40];
    std::snprintf(number, sizeof(number), std::isfinite(milliseconds) ? " %.3f ms" : " refused",
                  milliseconds);
    text += " " + form + number + ",";
  }
  return visible(text + " taken: " + (timing.chosen.empty() ? "none" : timing.chosen)) + "\n";
}

nlohmann::json to_json(const DeviceTiming& timing) {
  nlohmann::json times = nlohmann::json::object();
  for (const auto& [form, milliseconds] : timing.milliseconds) {
    times[form] = nullptr;
    if (std::isfinite(milliseconds)) times[form] = milliseconds;
  }
  return {{"what", timing.what},
          {"where", timing.where},
          {"milliseconds", times},
          {"chosen", timing.chosen}};
}

void for_each_row(const BackendOptions& options, Backend& ops,
                  const std::function<void(const Row&)>& take) {
  const GeluForm gelu =
      gelu_form(options_of_device(options.device, options.device_options).at("gelu"));
  for (const std::string& operation : operations()) {
    for (const DType dtype : {DType::f32, DType::bf16}) take(run_row(operation, dtype, ops, gelu));
  }
}

}  // namespace

nlohmann::json timings_json(const std::string& device) {
  nlohmann::json timings = nlohmann::json::array();
  for (const DeviceTiming& timing : device_kind(device).info().timings)
    timings.push_back(to_json(timing));
  return timings;
}

nlohmann::json verify_json(const BackendOptions& options) {
  const std::unique_ptr<Backend> ops = make_backend(options);
  int failed = 0;
  nlohmann::json rows = nlohmann::json::array();
  for_each_row(options, *ops, [&](const Row& row) {
    failed += row.failures.empty() ? 0 : 1;
    rows.push_back(to_json(row));
  });
  nlohmann::json report = {{"device", ops->name()}, {"failed", failed}, {"operations", rows}};
  const nlohmann::json timings = timings_json(options.device);
  if (!timings.empty()) report["timings"] = timings;
  return report;
}

int verify_device(const BackendOptions& options, bool as_json) {
  if (as_json) {
    const nlohmann::json report = verify_json(options);
    print_json(report);
    return report["failed"] == 0 ? kExitSuccess : kExitFailure;
  }
  const std::unique_ptr<Backend> ops = make_backend(options);
  print(ops->name() +
        ": every operation against double precision; errors are relative to max(1, |expected|)\n");
  print("operation            dtype cases  worst error      limit   seconds\n");
  int failed = 0;
  for_each_row(options, *ops, [&](const Row& row) {
    failed += row.failures.empty() ? 0 : 1;
    print(line(row));
  });
  for (const DeviceTiming& timing : device_kind(options.device).info().timings) print(line(timing));
  print(failed == 0 ? "all passed\n" : std::to_string(failed) + " FAILED\n");
  return failed == 0 ? kExitSuccess : kExitFailure;
}

}  // namespace ernie_image
