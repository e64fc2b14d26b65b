#include "backend/ascend/attention_timings.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>

#include "core/log.h"
#include "io/atomic_file.h"
#include "io/user_cache.h"

namespace ernie_image::ascend {
namespace {

constexpr std::string_view kHead = "ernie-image attention timings 1";
constexpr std::size_t kMostLines = 200;
constexpr std::size_t kMostBytes = 1 << 17;

std::vector<std::string> split_at_tabs(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, '\t');) parts.push_back(part);
  return parts;
}

/// "lengths=1.25" or "mask=refused"; nothing if it is neither.
std::optional<std::pair<std::string, std::optional<double>>> parse_time(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos) return std::nullopt;
  const std::string form = text.substr(0, equals);
  if (text.substr(equals + 1) == "refused") return std::pair{form, std::optional<double>()};
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + equals + 1, end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value) || value < 0)
    return std::nullopt;
  return std::pair{form, std::optional<double>(value)};
}

/// Chip, CANN, shape, and a time for each form; nothing for a damaged line.
std::optional<AttentionTimings::Line> parse_line(const std::string& text) {
  const std::vector<std::string> parts = split_at_tabs(text);
  if (parts.size() < 4) return std::nullopt;
  AttentionTimings::Line line{parts[0], parts[1], parts[2], {}};
  for (std::size_t i = 3; i < parts.size(); ++i) {
    const auto time = parse_time(parts[i]);
    if (!time) return std::nullopt;
    line.times[time->first] = time->second.value_or(kRefused);
  }
  return line;
}

std::string text_of(const AttentionTimings::Line& line) {
  std::string text = line.chip + "\t" + line.cann + "\t" + line.shape;
  for (const auto& [form, milliseconds] : line.times) {
    std::ostringstream number;
    number << milliseconds;
    text += "\t" + form + "=" + (milliseconds == kRefused ? "refused" : number.str());
  }
  return text + "\n";
}

}  // namespace

std::string fastest_of(const FormTimes& times) {
  const auto best =
      std::ranges::min_element(times, {}, [](const auto& entry) { return entry.second; });
  return best == times.end() || best->second == kRefused ? "" : best->first;
}

AttentionTimings& AttentionTimings::of_this_machine() {
  static auto* const kTimings = new AttentionTimings(user_cache_path("ascend-attention.txt"));
  return *kTimings;
}

FormTimes AttentionTimings::find_or(const std::string& chip, const std::string& cann,
                                    const std::string& shape,
                                    const std::function<FormTimes()>& measure) {
  const std::lock_guard lock(mutex_);
  if (const FormTimes* times = known(chip, cann, shape)) return *times;
  lines_.push_back({chip, cann, shape, measure()});
  if (lines_.size() > kMostLines) lines_.erase(lines_.begin());
  write();
  return lines_.back().times;
}

std::optional<FormTimes> AttentionTimings::find(const std::string& chip, const std::string& cann,
                                                const std::string& shape) {
  const std::lock_guard lock(mutex_);
  const FormTimes* const times = known(chip, cann, shape);
  return times == nullptr ? std::nullopt : std::optional(*times);
}

std::vector<AttentionTimings::Line> AttentionTimings::lines() {
  const std::lock_guard lock(mutex_);
  read();
  return lines_;
}

const FormTimes* AttentionTimings::known(const std::string& chip, const std::string& cann,
                                         const std::string& shape) {
  read();
  const auto found = std::ranges::find_if(lines_, [&](const Line& line) {
    return line.chip == chip && line.cann == cann && line.shape == shape;
  });
  return found == lines_.end() ? nullptr : &found->times;
}

void AttentionTimings::read() {
  if (is_read_) return;
  is_read_ = true;
  if (path_.empty()) return;
  std::ifstream file(path_, std::ios::binary);
  std::string text(kMostBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.empty()) return;
  std::istringstream stream(text);
  std::string line;
  std::getline(stream, line);
  bool is_whole = line == kHead && text.size() <= kMostBytes;
  while (is_whole && std::getline(stream, line)) {
    const auto parsed = parse_line(line);
    is_whole = parsed.has_value() && lines_.size() < kMostLines;
    if (is_whole) lines_.push_back(*parsed);
  }
  if (is_whole) return;
  lines_.clear();
  log_message(LogLevel::warning, path_ +
                                     " is damaged, or of another version of this program: "
                                     "attention is timed again");
}

void AttentionTimings::write() const {
  if (path_.empty()) return;
  std::string text = std::string(kHead) + "\n";
  for (const Line& line : lines_) text += text_of(line);
  try {
    std::filesystem::create_directories(std::filesystem::path(path_).parent_path());
    write_file_atomically(path_, std::as_bytes(std::span(text)));
  } catch (const std::exception& error) {
    log_message(LogLevel::warning,
                std::string(error.what()) + "; attention will be timed again by the next run");
  }
}

}  // namespace ernie_image::ascend
