// `ernie-image devices --report` and `--from-report`: all that is to be known of a device in one
// file, which somebody with a card can send to somebody without.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "backend/registry.h"

namespace ernie_image {

/// What a report may have beside `info`, in the order in which it is found out.
inline constexpr const char* kReportParts[] = {"verify", "evaluation", "timings", "bench"};

/// Finds out `parts` of the device, writes the file, and says on the way what is done. What fails
/// is in the report with its message. `info` is what `devices --json` says of the device's kind.
/// Throws Error(io) if the file cannot be written.
int write_device_report(const BackendOptions& options, const nlohmann::json& info,
                        const std::vector<std::string>& parts, const std::string& path);

/// Prints it for people. Throws Error(corrupt_file) for what is no report.
int print_device_report(const std::string& path);

}  // namespace ernie_image
