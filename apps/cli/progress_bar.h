// The progress of a run on stderr: one line, redrawn, and only on a terminal.
#pragma once

#include "ernie_image/pipeline.h"

namespace ernie_image {

class ProgressBar {
 public:
  /// `enabled` false draws nothing, whatever stderr is.
  explicit ProgressBar(bool enabled);
  /// Clears the line.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(const Progress& progress);

 private:
  bool enabled_;
  bool drawn_ = false;
};

/// "transformer   [############----------]  5/8  1.24 s/step  3.7 s left"
std::string progress_line(const Progress& progress);

}  // namespace ernie_image
