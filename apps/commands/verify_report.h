// `ernie-image devices --verify`: the conformance suite on this machine's device, as a table.
#pragma once

#include <string>

#include "backend/registry.h"

namespace ernie_image {

/// Runs every case and prints a line for each operation and dtype. Gives the exit code: 1 if
/// anything failed.
int verify_device(const BackendOptions& options, bool as_json);

}  // namespace ernie_image
