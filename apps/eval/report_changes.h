// What got better or worse between two eval_report.json files.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ernie_image {

/// How far a figure may move before it counts as changed, in percent of the old value. Each figure
/// has a floor below which it never does, since noise would decide.
struct ChangeTolerance {
  double accuracy_percent = 10;
  double time_percent = 10;
  double memory_percent = 10;
};

enum class Verdict { same, better, worse };

struct Change {
  std::string configuration;  ///< its label
  std::string figure;
  std::optional<double> before;
  std::optional<double> after;
  Verdict verdict = Verdict::same;
};

struct ReportChanges {
  /// Settings of the two runs that differ, so that their figures compare only loosely; one line
  /// each.
  std::vector<std::string> differing_settings;
  std::vector<Change> changes;

  bool has_worse() const;
};

/// The content of a report file; hostile input. Throws Error(corrupt_file | unsupported) naming
/// `path`.
nlohmann::json read_report(const std::string& path);

/// Configurations are matched by their labels; one that is missing from the new report, or failed
/// where it passed before, is worse.
ReportChanges compare_reports(const nlohmann::json& before, const nlohmann::json& after,
                              const ChangeTolerance& tolerance);

nlohmann::json to_json(const ReportChanges& changes);
std::string to_text(const ReportChanges& changes);

}  // namespace ernie_image
