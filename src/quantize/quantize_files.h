// Writing the files of a quantised model folder, each whole or not at all.
#pragma once

#include <string>

#include "core/thread_pool.h"
#include "ernie_image/cancel.h"
#include "io/model_manifest.h"
#include "quantize/output_files.h"

namespace ernie_image {

/// Called as a file grows; may throw to stop.
struct WriteObserver {
  OnBytes on_source_bytes;          ///< read since the last call
  std::function<void()> on_tensor;  ///< a packed tensor is done
};

/// Writes `file` below `folder`, where its own folder is there already, and gives what was written.
/// Weights are quantised by all threads of the pool, in pieces, while the piece before is written:
/// what it holds in memory does not depend on the size of the model. Throws Error(io | cancelled).
FileDigest write_output_file(ThreadPool& pool, const std::string& folder, const OutputFile& file,
                             const WriteObserver& observer);

}  // namespace ernie_image
