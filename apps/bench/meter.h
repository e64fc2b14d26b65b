// One way to measure, on the CPU and on cards: the fastest of several rounds, by the device's own
// clock. What the processor could do is measured in turns with it, so that both see the same
// machine; the best of each counts, since whatever else runs can only slow them down.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "bench/bench_command.h"

namespace ernie_image {

/// Something to be measured.
struct BenchSample {
  std::string op;
  Shape shape;
  Quantization quantization = Quantization::none;  ///< of the weights, which else are bf16
  std::int64_t products = 0;  ///< multiplications of matrices, attention, convolutions; 0: by bytes
  double bytes = 0;           ///< read or written by a call, where that is what takes the time
  double share_of_model = 0;  ///< of the bytes that a whole model reads for a token; 0: no model
  bool watches_memory = false;
  /// Weights and input on the device; what is returned is called again and again. May throw
  /// Error(unsupported) and Error(out_of_memory), which are results too.
  std::function<std::function<void()>()> prepare = {};
};

struct BenchResult {
  double seconds = 0;            ///< of a call
  double peak_gflops = 0;        ///< of the processor's fused multiply-adds; 0 on a card
  double read_gb_per_s = 0;      ///< of plain memory, beside samples of a model's bytes
  std::uint64_t peak_bytes = 0;  ///< activations and scratch memory, as the backend counts them
  std::uint64_t anonymous_bytes = 0;  ///< resident memory beyond what was there before
  std::string problem = {};           ///< why there is no number
};

class ProcessorProbe;

class Meter {
 public:
  Meter(Backend& ops, const BenchOptions& options);
  ~Meter();

  BenchResult measure(const BenchSample& sample);

 private:
  void measure_rounds(const BenchSample& sample, BenchResult& result);
  void probe(const BenchSample& sample, BenchResult& result);
  double seconds_of(int calls, const std::function<void()>& call);

  Backend& ops_;
  const bool quick_;
  std::unique_ptr<Backend::Timer> timer_;
  std::unique_ptr<ProcessorProbe> processor_;  // none beside a card
};

}  // namespace ernie_image
