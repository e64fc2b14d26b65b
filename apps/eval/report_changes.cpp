#include "eval/report_changes.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "common/console.h"
#include "ernie_image/error.h"
#include "eval/figures.h"
#include "eval/report_json.h"
#include "io/file_view.h"
#include "io/json.h"

namespace ernie_image {
namespace {

using nlohmann::json;
using Pointer = json::json_pointer;

enum class Kind { accuracy, time, memory };

/// One figure of a configuration in the report.
struct Figure {
  const char* name;
  const char* pointer;
  Kind kind;
  bool is_similarity = false;  ///< 1 is best: what is compared is the distance from it
  bool higher_is_better = false;
  double floor;  ///< a smaller move, in the figure's own unit, is noise
};

constexpr double kMebibyte = 1024.0 * 1024.0;

constexpr Figure kFigures[] = {
    {"nMSE %", "/accuracy/mean/nmse_percent", Kind::accuracy, false, false, 1e-4},
    {"worst nMSE %", "/accuracy/worst/nmse_percent/value", Kind::accuracy, false, false, 1e-4},
    {"SSIM", "/accuracy/mean/ssim", Kind::accuracy, true, false, 1e-4},
    {"MS-SSIM", "/accuracy/mean/ms_ssim", Kind::accuracy, true, false, 1e-4},
    {"embedding cosine", "/accuracy/mean/prompt_embedding_cosine", Kind::accuracy, true, false,
     1e-6},
    {"final latent nMSE %", "/accuracy/mean/final_latent_nmse_percent", Kind::accuracy, false,
     false, 1e-4},
    {"s a picture", "/performance/seconds/total/median", Kind::time, false, false, 0.01},
    {"s text encoder", "/performance/seconds/text_encoder/median", Kind::time, false, false, 0.01},
    {"s a step", "/performance/seconds/step/median", Kind::time, false, false, 0.01},
    {"s VAE decoder", "/performance/seconds/vae_decoder/median", Kind::time, false, false, 0.01},
    {"s to load", "/performance/load_seconds", Kind::time, false, false, 0.1},
    {"bytes, own", "/performance/memory/peak_anonymous_bytes", Kind::memory, false, false,
     16 * kMebibyte},
    {"bytes, mapped", "/performance/memory/peak_mapped_bytes", Kind::memory, false, false,
     64 * kMebibyte}};

constexpr Figure kEnhancerSpeed = {
    "enhancer tokens/s", "/enhancer_tokens_per_second", Kind::time, false, true, 0.1};

/// The number there, or nothing: the older report may lack a figure.
std::optional<double> number_at(const json& object, const char* pointer) {
  const Pointer path(pointer);
  if (!object.contains(path) || !object.at(path).is_number()) return std::nullopt;
  return object.at(path).get<double>();
}

std::string text_at(const json& object, const char* pointer) {
  const Pointer path(pointer);
  if (!object.contains(path)) return "";
  const json& value = object.at(path);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

double tolerance_of(Kind kind, const ChangeTolerance& tolerance) {
  switch (kind) {
    case Kind::accuracy:
      return tolerance.accuracy_percent;
    case Kind::time:
      return tolerance.time_percent;
    case Kind::memory:
      return tolerance.memory_percent;
  }
  return 0;
}

Verdict judge(const Figure& figure, double before, double after, const ChangeTolerance& tolerance) {
  const double old_value = figure.is_similarity ? 1 - before : before;
  const double new_value = figure.is_similarity ? 1 - after : after;
  const double allowed =
      std::max(figure.floor, std::abs(old_value) * tolerance_of(figure.kind, tolerance) / 100);
  const double rise = new_value - old_value;
  if (std::abs(rise) <= allowed) return Verdict::same;
  return (rise > 0) == figure.higher_is_better ? Verdict::better : Verdict::worse;
}

void add_change(const std::string& label, const Figure& figure, const json& before,
                const json& after, const ChangeTolerance& tolerance, ReportChanges& result) {
  Change change{label, figure.name, number_at(before, figure.pointer),
                number_at(after, figure.pointer)};
  if (!change.before && !change.after) return;
  if (change.before && change.after)
    change.verdict = judge(figure, *change.before, *change.after, tolerance);
  result.changes.push_back(std::move(change));
}

/// 1 for PASSED, so that the change reads like a figure.
std::optional<double> passed(const json& configuration) {
  const std::string status = text_at(configuration, "/status");
  if (status.empty()) return std::nullopt;
  return status == "PASSED" ? 1 : 0;
}

void add_configuration(const json& before, const json* after, const ChangeTolerance& tolerance,
                       ReportChanges& result) {
  const std::string label = text_at(before, "/label");
  if (after == nullptr) {
    result.changes.push_back({label, "present", 1, 0, Verdict::worse});
    return;
  }
  if (const auto was = passed(before), is = passed(*after); was && is && *was != *is) {
    result.changes.push_back(
        {label, "passed", was, is, *is > *was ? Verdict::better : Verdict::worse});
  }
  for (const Figure& figure : kFigures) {
    add_change(label, figure, before, *after, tolerance, result);
  }
}

const json* find_label(const json& candidates, const std::string& label) {
  for (const json& candidate : candidates) {
    if (text_at(candidate, "/label") == label) return &candidate;
  }
  return nullptr;
}

std::vector<std::string> differing_settings(const json& before, const json& after) {
  constexpr std::pair<const char*, const char*> kSettings[] = {
      {"model", "/baseline/model/content_hash"},
      {"baseline", "/baseline/label"},
      {"width", "/settings/width"},
      {"height", "/settings/height"},
      {"steps", "/settings/num_inference_steps"},
      {"guidance", "/settings/guidance_scale"},
      {"seed", "/settings/seed"},
      {"prompts", "/prompts"},
      {"processor", "/machine/cpu"},
      {"CPUs", "/machine/usable_cpus"},
      {"kernels", "/baseline/cpu_kernels"}};
  std::vector<std::string> lines;
  for (const auto& [name, pointer] : kSettings) {
    const std::string was = text_at(before, pointer), is = text_at(after, pointer);
    if (was == is) continue;
    lines.push_back(std::string(name) + ": " + printable(was) + " before, " + printable(is) +
                    " now");
  }
  return lines;
}

const char* name_of(Verdict verdict) {
  return verdict == Verdict::same ? "same" : verdict == Verdict::better ? "better" : "WORSE";
}

[[noreturn]] void refuse(const std::string& path, const std::string& message) {
  throw Error(ErrorKind::corrupt_file, path + " is no evaluation report: " + message);
}

}  // namespace

bool ReportChanges::has_worse() const {
  return std::ranges::any_of(changes,
                             [](const Change& change) { return change.verdict == Verdict::worse; });
}

json read_report(const std::string& path) {
  json report = parse_json(open_file(path));
  if (!report.is_object() || text_at(report, "/format") != kReportFormat)
    refuse(path, "expected an object with \"format\": \"" + std::string(kReportFormat) + "\"");
  if (const auto version = number_at(report, "/format_version"); version != kReportVersion) {
    throw Error(ErrorKind::unsupported,
                path + ": format_version " + text_at(report, "/format_version") +
                    ", this program reads " + std::to_string(kReportVersion));
  }
  if (!report.contains("baseline") || !report["baseline"].is_object())
    refuse(path, "\"baseline\" must be an object");
  if (!report.contains("candidates") || !report["candidates"].is_array())
    refuse(path, "\"candidates\" must be an array");
  return report;
}

ReportChanges compare_reports(const json& before, const json& after,
                              const ChangeTolerance& tolerance) {
  ReportChanges result;
  result.differing_settings = differing_settings(before, after);
  add_configuration(before["baseline"], &after["baseline"], tolerance, result);
  for (const json& candidate : before["candidates"]) {
    add_configuration(candidate, find_label(after["candidates"], text_at(candidate, "/label")),
                      tolerance, result);
  }
  add_change("enhancer", kEnhancerSpeed, before, after, tolerance, result);
  return result;
}

json to_json(const ReportChanges& changes) {
  json rows = json::array();
  for (const Change& change : changes.changes) {
    std::string verdict = name_of(change.verdict);
    if (change.verdict == Verdict::worse) verdict = "worse";
    rows.push_back({{"configuration", change.configuration},
                    {"figure", change.figure},
                    {"before", json_or_null(change.before)},
                    {"after", json_or_null(change.after)},
                    {"verdict", verdict}});
  }
  return {{"differing_settings", changes.differing_settings},
          {"changes", rows},
          {"status", changes.has_worse() ? "WORSE" : "OK"}};
}

std::string to_text(const ReportChanges& changes) {
  std::string text;
  for (const std::string& line : changes.differing_settings)
    text += "The runs differ in " + line + "\n";
  char line[256];
  std::snprintf(line, sizeof(line), "%-24s %-20s %14s %14s %9s\n", "configuration", "figure",
                "before", "after", "change");
  text += line;
  for (const Change& change : changes.changes) {
    std::string move = "-";
    if (change.before && change.after && *change.before != 0) {
      char percent[32];
      std::snprintf(percent, sizeof(percent), "%+.1f %%",
                    100 * (*change.after - *change.before) / std::abs(*change.before));
      move = percent;
    }
    std::snprintf(line, sizeof(line), "%-24.24s %-20s %14s %14s %9s  %s\n",
                  visible(change.configuration).c_str(), change.figure.c_str(),
                  change.before ? figure(*change.before).c_str() : "-",
                  change.after ? figure(*change.after).c_str() : "-", move.c_str(),
                  change.verdict == Verdict::same ? "" : name_of(change.verdict));
    text += line;
  }
  return text;
}

}  // namespace ernie_image
