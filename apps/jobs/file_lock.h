// One process at a time.
#pragma once

#include <string>

#include "io/file_descriptor.h"

namespace ernie_image {

/// Holds "<path>-lock", which stays behind empty; the system lets go of it however the process
/// ends.
class FileLock {
 public:
  /// Throws Error(device) if another process, or this one, holds it, Error(io) if it cannot be
  /// made.
  explicit FileLock(const std::string& path);

 private:
  FileDescriptor file_;
};

}  // namespace ernie_image
