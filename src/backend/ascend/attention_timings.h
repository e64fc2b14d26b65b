// How long each form of attention takes at a shape, measured once on a chip with a CANN and
// remembered in a small file, so that all cards and later runs compute alike.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ernie_image::ascend {

/// Milliseconds of a call by the name of the form, kRefused for one that the card would not do.
using FormTimes = std::map<std::string, double>;
inline constexpr double kRefused = std::numeric_limits<double>::infinity();

/// The fastest one, or "" if every form was refused.
std::string fastest_of(const FormTimes& times);

class AttentionTimings {
 public:
  struct Line {
    std::string chip, cann, shape;
    FormTimes times;
  };

  /// `path` may be empty: remembered by this process alone. What cannot be read or written is
  /// logged, and measured again.
  explicit AttentionTimings(std::string path) : path_(std::move(path)) {}

  /// The one of this process: $XDG_CACHE_HOME/ernie-image/ascend-attention.txt.
  static AttentionTimings& of_this_machine();

  /// What is known of this shape, else what `measure` says, which is then remembered. One caller
  /// at a time: a second card waits for what the first one measures.
  FormTimes find_or(const std::string& chip, const std::string& cann, const std::string& shape,
                    const std::function<FormTimes()>& measure);
  /// Nothing is measured.
  std::optional<FormTimes> find(const std::string& chip, const std::string& cann,
                                const std::string& shape);
  std::vector<Line> lines();

 private:
  void read();
  void write() const;
  const FormTimes* known(const std::string& chip, const std::string& cann,
                         const std::string& shape);

  std::mutex mutex_;
  std::string path_;
  bool is_read_ = false;
  std::vector<Line> lines_;  // the newest is the last
};

}  // namespace ernie_image::ascend
