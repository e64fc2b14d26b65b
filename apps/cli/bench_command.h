// `ernie-image bench`: how fast each operation is at the sizes of the released model, beside the
// fused-multiply-add peak of the processor measured in the same run.
#pragma once

#include <string>

namespace ernie_image {

struct BenchOptions {
  int threads = 0;  ///< 0: all
  std::string cpu_kernels = "auto";
  bool quick = false;  ///< small sizes only, few rounds
  bool json = false;
};

/// Prints a table or JSON; 0 on success.
int run_bench(const BenchOptions& options);

}  // namespace ernie_image
