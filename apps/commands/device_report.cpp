#include "commands/device_report.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <functional>
#include <span>

#include <unistd.h>
#include <nlohmann/json.hpp>

#include "bench/bench_command.h"
#include "commands/verify_report.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "common/interrupt.h"
#include "common/output_paths.h"
#include "ernie_image/error.h"
#include "ernie_image/pipeline.h"
#include "eval/evaluation.h"
#include "eval/machine.h"
#include "eval/report_json.h"
#include "eval/run_log.h"
#include "io/atomic_file.h"
#include "io/json.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "ernie-image-device-report";
constexpr int kVersion = 1;

/// A folder for the pictures of the evaluation, which are not a part of the report.
class ScratchFolder {
 public:
  ScratchFolder()
      : path_(std::filesystem::temp_directory_path() /
              ("ernie-image-report-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The embedded model at 256 x 256 in 8 steps, against the processor in fp32.
json evaluation(const BackendOptions& options) {
  const ScratchFolder folder;
  LoadOptions load;
  load.device = options.device;
  load.device_options = options.device_options;
  EvaluationSettings settings;
  settings.request.height_px = settings.request.width_px = 256;
  settings.request.num_inference_steps = 8;
  settings.prompts = {"a red apple on a blue background"};
  settings.enhance.enabled = false;
  settings.baseline = parse_configuration("baseline", "dtype=fp32,device=cpu", load);
  for (const char* dtype : {"fp32", "bf16"})
    settings.candidates.push_back(parse_configuration("candidate", dtype, load));
  settings.runs = 1;
  settings.output_dir = folder.path();
  settings.quiet = true;
  const InterruptGuard interrupt;
  RunLog log(settings.output_dir + "/log.txt", false);
  return report_json(evaluate(settings, interrupt, log));
}

/// Seconds of each operation at the sizes of a picture of 1024 pixels square.
json operation_times(const BackendOptions& options) {
  BenchOptions bench;
  bench.device = options.device;
  bench.precision = Precision::bf16;
  bench.ops = {"linear", "attention", "elementwise", "conv2d", "block"};
  bench.sizes_px = {1024};
  bench.json = true;
  return bench_report(bench);
}

json part_of(const std::string& part, const BackendOptions& options) {
  try {
    if (part == "verify") return verify_json(options);
    if (part == "evaluation") return evaluation(options);
    if (part == "bench") return operation_times(options);
    return timings_json(options.device);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::cancelled) throw;  // of all, not of this part
    return {{"error", error.what()}};
  } catch (const std::exception& error) {  // a folder that cannot be made
    return {{"error", error.what()}};
  }
}

/// One line for a value, or a block of lines, further in, for what has several.
void append(std::string& text, const std::string& name, const json& value, int depth) {
  constexpr int kDeepest = 12;
  const std::string indent(static_cast<std::size_t>(2 * depth), ' ');
  const bool is_plain =
      !value.is_structured() || depth >= kDeepest ||
      std::ranges::none_of(value, [](const json& v) { return v.is_structured(); });
  if (is_plain && (!value.is_object() || value.size() <= 8)) {
    const std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
    text += indent + visible(name + ": " + shown) + "\n";
    return;
  }
  text += indent + visible(name) + ":\n";
  std::size_t index = 0;
  for (const auto& item : value.items()) {
    append(text, value.is_array() ? std::to_string(++index) : item.key(), item.value(), depth + 1);
  }
}

json read_device_report(const std::string& path) {
  json report = parse_json(open_file(path));
  if (!report.is_object() || report.value("format", json()) != kFormat)
    throw Error(ErrorKind::corrupt_file,
                path + ": is not a report that `ernie-image devices --report` wrote");
  if (report.value("format_version", json()) != kVersion)
    throw Error(ErrorKind::unsupported, path + ": is a report of format version " +
                                            printable_json(report.value("format_version", json())) +
                                            ", this program reads " + std::to_string(kVersion));
  return report;
}

}  // namespace

int write_device_report(const BackendOptions& options, const json& info,
                        const std::vector<std::string>& parts, const std::string& path) {
  require_writable("--report", path);
  json report = {{"format", kFormat},     {"format_version", kVersion}, {"program", version()},
                 {"created", utc_time()}, {"device", options.device},   {"info", info}};
  for (const std::string part : kReportParts) {
    if (std::ranges::find(parts, part) == parts.end()) continue;
    print(part + "...\n");
    report[part] = part_of(part, options);
  }
  const std::string text = report.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
  write_file_atomically(path, std::as_bytes(std::span(text)));
  print(path + "\n");
  return kExitSuccess;
}

int print_device_report(const std::string& path) {
  const json report = read_device_report(path);
  std::string text;
  for (const auto& item : report.items()) append(text, item.key(), item.value(), 0);
  print(text);
  return kExitSuccess;
}

}  // namespace ernie_image
