// `ernie-image bench`: how fast each operation is at the sizes of the released model, beside the
// fused-multiply-add peak of the processor measured in the same run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ernie_image/precision.h"

namespace ernie_image {

struct BenchOptions {
  std::string device = "cpu";  ///< another one: bench_device.h
  int threads = 0;             ///< 0: all
  std::string cpu_kernels = "auto";
  Precision precision = Precision::fp32;  ///< of activations, on the CPU, where there is a choice
  bool quick = false;                     ///< small sizes only, few rounds
  bool json = false;
  std::vector<std::string> ops;        ///< names of rows to measure; empty: all
  std::vector<std::int64_t> sizes_px;  ///< pictures of 256, 512, 1024 pixels square; empty: all

  bool wants(const std::string& op) const;
  bool wants_size(std::int64_t side_px) const;
};

/// What `ops` may name.
const std::vector<std::string>& bench_ops();

/// Prints a table or JSON; 0 on success.
int run_bench(const BenchOptions& options);

}  // namespace ernie_image
