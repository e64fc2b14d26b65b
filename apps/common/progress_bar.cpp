#include "common/progress_bar.h"

#include <algorithm>
#include <cstdio>

#include <unistd.h>

#include "common/console.h"

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

std::string bar(double share) {
  constexpr int kWidth = 24;
  const int filled = static_cast<int>(kWidth * std::clamp(share, 0.0, 1.0));
  return std::string(filled, '#') + std::string(kWidth - filled, '-');
}

double share_of(double done, double total) { return total > 0 ? done / total : 0; }

/// Of what is left, at the speed so far; unknown before anything is done.
std::string speed_text(const QuantizeProgress& progress) {
  const auto done = static_cast<double>(progress.bytes - progress.kept_bytes);
  if (done <= 0 || progress.seconds <= 0) return "";
  const double left =
      static_cast<double>(progress.all_bytes - progress.bytes) * progress.seconds / done;
  const int seconds = static_cast<int>(std::min(left, 359999.0));
  char text[80];
  std::snprintf(text, sizeof(text), "  %.2f GB/s  %d:%02d left", 1e-9 * done / progress.seconds,
                seconds / 60, seconds % 60);
  return text;
}

}  // namespace

std::string progress_line(const Progress& progress) {
  const StageWords words = words_of(progress.stage);
  char text[160];
  int length = std::snprintf(text, sizeof(text), "%-13s [%s] %2d/%d", words.name,
                             bar(share_of(progress.step, progress.steps)).c_str(), progress.step,
                             progress.steps);
  std::string line(text, std::min<std::size_t>(length, sizeof(text) - 1));
  if (progress.step > 0) {
    const double seconds_each = progress.stage_seconds / progress.step;
    length = std::snprintf(text, sizeof(text), "  %.2f s/%s  %.1f s left", seconds_each, words.unit,
                           seconds_each * (progress.steps - progress.step));
    line.append(text, std::min<std::size_t>(length, sizeof(text) - 1));
  }
  return line;
}

std::string progress_line(const QuantizeProgress& progress) {
  const auto done = static_cast<double>(progress.bytes);
  const auto all = static_cast<double>(progress.all_bytes);
  char text[160];
  std::snprintf(text, sizeof(text), "%s  [%s] %zu/%zu  %.1f/%.1f GB", progress.work,
                bar(share_of(done, all)).c_str(), progress.tensors, progress.all_tensors,
                1e-9 * done, 1e-9 * all);
  return text + speed_text(progress);
}

std::string fitted_line(const std::string& line, int columns) {
  constexpr std::size_t kShortestBar = 4;
  // The last column stays free: some terminals begin a new line once it is written.
  const auto room = static_cast<std::size_t>(std::max(columns - 1, 0));
  const std::size_t begin = line.find('['), end = line.find(']');
  if (line.size() <= room || begin == std::string::npos || end == std::string::npos)
    return line.substr(0, room);
  const std::string filled = line.substr(begin + 1, end - begin - 1);
  const std::size_t excess = line.size() - room;
  if (filled.size() < excess + kShortestBar)  // no bar at all
    return (line.substr(0, begin) + line.substr(std::min(end + 2, line.size()))).substr(0, room);
  const std::size_t width = filled.size() - excess;
  const auto marks =
      static_cast<std::size_t>(std::ranges::count(filled, '#')) * width / filled.size();
  return line.substr(0, begin + 1) + std::string(marks, '#') + std::string(width - marks, '-') +
         line.substr(end);
}

ProgressBar::ProgressBar(bool enabled) : enabled_(enabled && isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::show(const Progress& progress) { show_line(progress_line(progress)); }

void ProgressBar::show(const QuantizeProgress& progress) { show_line(progress_line(progress)); }

void ProgressBar::show_line(const std::string& line) {
  if (!enabled_) return;
  drawn_ = true;
  std::fprintf(stderr, "\r%s\x1b[K", fitted_line(line, terminal_columns()).c_str());
}

}  // namespace ernie_image
