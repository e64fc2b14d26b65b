// `ernie-image bench`: how fast a device is at the sizes of the released model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "common/flags.h"

namespace ernie_image {

struct BenchOptions {
  std::string device = "cpu";
  int threads = 0;  ///< 0: all
  std::string cpu_kernels = "auto";
  Precision precision = Precision::fp32;  ///< of activations
  bool quick = false;                     ///< the smallest size only, few rounds
  bool json = false;
  std::vector<std::string> ops;  ///< names of rows to measure; empty: all
  /// Types of GGUF that weights of two dimensions are encoded in; empty: as they are, and
  /// quantised.
  std::vector<std::string> weights;
  std::string block_activations = "auto";  ///< as the CPU's option of that name
  std::vector<std::int64_t> sizes_px;      ///< pictures of 256, 512, 1024 pixels square; empty: all

  bool is_cpu() const { return device == "cpu"; }
  bool wants(const std::string& op) const;
  /// What weights are quantised to, one after another.
  std::vector<Quantization> quantizations() const;
  /// Sides of the square pictures to measure at.
  std::vector<std::int64_t> sides_px() const;
};

/// All rows as JSON, with nothing printed if `options.json`.
nlohmann::json bench_report(const BenchOptions& options);

Command add_bench_command(CLI::App& program);

}  // namespace ernie_image
