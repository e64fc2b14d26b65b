// The machine that measurements were made on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ernie_image {

struct Machine {
  std::string cpu;     ///< the processor's name, or its architecture where the system has none
  std::string system;  ///< "Linux 6.1.0 x86_64"
  int usable_cpus = 0;
  std::uint64_t memory_bytes = 0;
  std::vector<std::string> cpu_kernels;  ///< best first
};

Machine this_machine();

nlohmann::json to_json(const Machine& machine);

/// Now, in UTC: "2026-01-31T12:34:56Z".
std::string utc_time();

}  // namespace ernie_image
