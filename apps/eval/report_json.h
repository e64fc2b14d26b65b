// eval_report.json: docs/evaluation.md describes it, docs/eval_report.schema.json defines it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "eval/evaluation.h"

namespace ernie_image {

/// Says which file this is, and which fields to expect; a change that readers notice raises it.
inline constexpr const char* kReportFormat = "ernie-image-eval";
inline constexpr int kReportVersion = 1;

nlohmann::json report_json(const Evaluation& evaluation);

}  // namespace ernie_image
