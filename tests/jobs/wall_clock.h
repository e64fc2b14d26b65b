// A wall clock that tests may set.
#pragma once

#include <chrono>

namespace ernie_image::test {

/// While it lives, this process takes it to be so much later than it is. Monotonic clocks and other
/// processes do not notice.
class WallClockShift {
 public:
  explicit WallClockShift(std::chrono::seconds shift);
  ~WallClockShift();
  WallClockShift(const WallClockShift&) = delete;
  WallClockShift& operator=(const WallClockShift&) = delete;
};

}  // namespace ernie_image::test
