// The hook through which a program sees the tensors within a run: Request::trace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

/// Row-major values in the memory of the host. A copy shares them, and may be kept: nobody writes
/// to them afterwards.
struct TracedTensor {
  std::string dtype;                ///< as safetensors calls it: "F32", "BF16", "I64"
  std::vector<std::int64_t> shape;  ///< extents, slowest first
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;  ///< of the bytes
};

/// Receives tensors under the names that `ernie-image generate --save-tensors` writes and
/// docs/formats.md explains: "step3.latents", "dit.block0.input"...
class Trace {
 public:
  virtual ~Trace() = default;

  /// Asked first, so that a tensor nobody wants is neither copied from its device nor kept.
  virtual bool wants(std::string_view name) const = 0;

  /// On the thread that called the pipeline. An exception ends the run.
  virtual void record(const std::string& name, const TracedTensor& tensor) = 0;
};

}  // namespace ernie_image
