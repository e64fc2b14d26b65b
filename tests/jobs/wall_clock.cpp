#include "jobs/wall_clock.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace {

std::atomic<std::int64_t> wall_clock_shift_s = 0;

}  // namespace

/// Takes the place of the C library's, for libraries as well: std::chrono asks here.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += wall_clock_shift_s;
  return result;
}

namespace ernie_image::test {

WallClockShift::WallClockShift(std::chrono::seconds shift) { wall_clock_shift_s = shift.count(); }
WallClockShift::~WallClockShift() { wall_clock_shift_s = 0; }

}  // namespace ernie_image::test
