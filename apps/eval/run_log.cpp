#include "eval/run_log.h"

#include <cstdio>
#include <iostream>

#include "ernie_image/error.h"
#include "eval/machine.h"

namespace ernie_image {

RunLog::RunLog(const std::string& path, bool echo) : path_(path), echo_(echo), file_(path) {
  if (!file_) throw Error(ErrorKind::io, "cannot write " + path);
}

void RunLog::line(const std::string& message) {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  char seconds[32];
  std::snprintf(seconds, sizeof(seconds), "%10.3f s", elapsed.count());
  file_ << utc_time() << seconds << "  " << message << std::endl;
  if (!file_) throw Error(ErrorKind::io, "cannot write " + path_ + ": is the disk full?");
  if (echo_) std::cerr << message << "\n";
}

}  // namespace ernie_image
