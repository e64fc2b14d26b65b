// The CPU as a Backend. Kernels are chosen at start by the instruction sets the processor has.
#pragma once

#include <memory>
#include <string>

#include "backend/device.h"
#include "backend/gelu.h"

namespace ernie_image {

/// How products with the blocks of other programs' files are computed.
enum class BlockActivations {
  automatic,  ///< int8 for activations in bf16 where the kernels can, else exact
  exact,      ///< weights decoded to f32, activations as they are
  int8,       ///< activations rounded to 8 bits, with a scale for each 32
};

struct CpuOptions {
  /// 0: every CPU the process may use (affinity and cgroup quota respected).
  int num_threads = 0;
  /// "auto", or one of cpu_kernel_names(): forces an instruction set, for tests and measurements.
  std::string kernels = "auto";
  GeluForm gelu = GeluForm::exact;
  BlockActivations block_activations = BlockActivations::automatic;
};

/// Throws Error(invalid_argument) for kernels this processor or build does not have,
/// Error(unsupported) for int8 with kernels that cannot.
std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options = {});

const DeviceKind& cpu_device();

}  // namespace ernie_image
