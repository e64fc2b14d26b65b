// `ernie-image quantize`: a model folder whose large weights are packed, made from another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "core/weight.h"
#include "ernie_image/cancel.h"
#include "io/model_folder.h"
#include "quantize/output_files.h"

namespace ernie_image {

struct QuantizeProgress {
  const char* work = "quantize";  ///< for people
  std::size_t tensors = 0;        ///< packed so far, those of a resumed run included
  std::size_t all_tensors = 0;    ///< to be packed
  std::uint64_t bytes = 0;        ///< of the source, dealt with so far
  std::uint64_t all_bytes = 0;
  std::uint64_t kept_bytes = 0;  ///< of `bytes`, what an earlier run had done
  double seconds = 0;
};

struct QuantizeRequest {
  ModelFolder source;
  std::string output;
  Quantization quantization = Quantization::int8;
  QuantizeTarget target = QuantizeTarget::any;         ///< of int8 alone if it is another
  std::set<std::string> components = {"transformer"};  ///< of transformer, text_encoder, pe
  std::uint64_t max_shard_bytes = 4'000'000'000;
  int num_threads = 0;  ///< 0: every CPU the process may use
  bool force = false;   ///< replace what an earlier run wrote
  std::function<void(const QuantizeProgress&)> on_progress;
  std::shared_ptr<const CancelToken> cancel;
};

struct QuantizeResult {
  std::size_t files = 0;
  std::size_t kept_files = 0;  ///< of these, found whole from an interrupted run
  std::size_t packed_tensors = 0;
  std::uint64_t source_bytes = 0;
  std::uint64_t bytes = 0;  ///< of the folder
  double seconds = 0;
};

/// Goes on where an interrupted run to the same folder ended. The folder is a model only when all
/// is done: model_index.json comes last. Throws Error(invalid_argument) for an output that is
/// finished, holds something else, or lies within the source (or the reverse); Error(corrupt_file |
/// unsupported | io | cancelled), after which it can be called again.
QuantizeResult quantize_model(const QuantizeRequest& request);

}  // namespace ernie_image
