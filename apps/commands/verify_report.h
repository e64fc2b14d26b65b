// `ernie-image devices --verify`: the conformance suite on this machine's device, as a table.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "backend/registry.h"

namespace ernie_image {

/// Runs every case and prints a line for each operation and dtype. Gives the exit code: 1 if
/// anything failed.
int verify_device(const BackendOptions& options, bool as_json);

/// The same as JSON, printing nothing.
nlohmann::json verify_json(const BackendOptions& options);

/// What the kind of this device has timed and remembers.
nlohmann::json timings_json(const std::string& device);

}  // namespace ernie_image
