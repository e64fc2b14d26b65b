// log.txt: what an evaluation did, and when.
#pragma once

#include <chrono>
#include <fstream>
#include <string>

namespace ernie_image {

/// Each line goes to the file at once, so that it tells how far a run came that was killed.
class RunLog {
 public:
  /// Throws Error(io) if the file cannot be written. `echo` repeats each message on stderr.
  RunLog(const std::string& path, bool echo);

  /// Throws Error(io) if the disk is full.
  void line(const std::string& message);

 private:
  std::string path_;
  bool echo_;
  std::ofstream file_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace ernie_image
