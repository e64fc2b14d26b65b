#include "eval/machine.h"

#include <chrono>
#include <ctime>
#include <fstream>

#include <sys/utsname.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include "backend/registry.h"
#include "core/thread_pool.h"

namespace ernie_image {
namespace {

/// The value of the first line "model name : ..." of /proc/cpuinfo, or nothing.
std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "";
}

}  // namespace

Machine this_machine() {
  Machine machine;
  utsname names = {};
  uname(&names);
  machine.system = std::string(names.sysname) + " " + names.release + " " + names.machine;
  machine.cpu = processor_name();
  if (machine.cpu.empty()) machine.cpu = names.machine;
  machine.usable_cpus = available_cpus();
  machine.memory_bytes = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                         static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  machine.cpu_kernels = cpu_kernel_names();
  return machine;
}

nlohmann::json to_json(const Machine& machine) {
  return {{"cpu", machine.cpu},
          {"system", machine.system},
          {"usable_cpus", machine.usable_cpus},
          {"memory_bytes", machine.memory_bytes},
          {"cpu_kernels", machine.cpu_kernels}};
}

std::string utc_time() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace ernie_image
