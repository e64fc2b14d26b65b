// `--cpu-kernels none` computes nothing, so that the memory of large runs can be measured quickly:
// what kernels would write and read is only touched.
#pragma once

#include <atomic>

namespace ernie_image {

/// Set by the first backend with these kernels, for the whole process.
inline std::atomic<bool> only_touches{false};

constexpr const char* kNoKernels = "none";

}  // namespace ernie_image
