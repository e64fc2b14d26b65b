// The progress of a run on stderr: one line, redrawn, and only on a terminal.
#pragma once

#include "ernie_image/pipeline.h"
#include "quantize/quantize_model.h"

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
  void show(const QuantizeProgress& progress);

 private:
  void show_line(const std::string& line);

  bool enabled_;
  bool drawn_ = false;
};

/// "quantize  [######------------------] 61/252  3.9/15.6 GB  0.21 GB/s  0:55 left"
std::string progress_line(const QuantizeProgress& progress);

/// "transformer   [############----------]  5/8  1.24 s/step  3.7 s left"
std::string progress_line(const Progress& progress);

/// The line cut to a terminal: first its bar gets shorter, then it goes, then what stands last.
std::string fitted_line(const std::string& line, int columns);

}  // namespace ernie_image
