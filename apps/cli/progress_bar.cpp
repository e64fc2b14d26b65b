#include "cli/progress_bar.h"

#include <algorithm>
#include <cstdio>

#include <unistd.h>

namespace ernie_image {
namespace {

struct StageWords {
  const char* name;
  const char* unit;
};

StageWords words_of(Stage stage) {
  switch (stage) {
    case Stage::text_encoder:
      return {"text encoder", "prompt"};
    case Stage::transformer:
      return {"transformer", "step"};
    case Stage::vae_decoder:
      return {"VAE decoder", "image"};
  }
  return {"", ""};
}

std::string bar(int done, int total) {
  constexpr int kWidth = 24;
  const int filled = total > 0 ? std::clamp(kWidth * done / total, 0, kWidth) : 0;
  return std::string(filled, '#') + std::string(kWidth - filled, '-');
}

}  // namespace

std::string progress_line(const Progress& progress) {
  const StageWords words = words_of(progress.stage);
  char text[160];
  int length =
      std::snprintf(text, sizeof(text), "%-13s [%s] %2d/%d", words.name,
                    bar(progress.step, progress.steps).c_str(), progress.step, progress.steps);
  std::string line(text, std::min<std::size_t>(length, sizeof(text) - 1));
  if (progress.step > 0) {
    const double seconds_each = progress.stage_seconds / progress.step;
    length = std::snprintf(text, sizeof(text), "  %.2f s/%s  %.1f s left", seconds_each, words.unit,
                           seconds_each * (progress.steps - progress.step));
    line.append(text, std::min<std::size_t>(length, sizeof(text) - 1));
  }
  return line;
}

ProgressBar::ProgressBar(bool enabled) : enabled_(enabled && isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::show(const Progress& progress) {
  if (!enabled_) return;
  drawn_ = true;
  std::fprintf(stderr, "\r%s\x1b[K", progress_line(progress).c_str());
}

}  // namespace ernie_image
