// The CPU as a Backend. Kernels are chosen at start by the instruction sets the processor has.
#pragma once

#include <memory>
#include <string>

#include "backend/device.h"
#include "backend/gelu.h"

namespace ernie_image {

struct CpuOptions {
  /// 0: every CPU the process may use (affinity and cgroup quota respected).
  int num_threads = 0;
  /// "auto", or one of cpu_kernel_names(): forces an instruction set, for tests and measurements.
  std::string kernels = "auto";
  GeluForm gelu = GeluForm::exact;
};

/// Throws Error(invalid_argument) for kernels this processor or build does not have.
std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options = {});

const DeviceKind& cpu_device();

}  // namespace ernie_image
