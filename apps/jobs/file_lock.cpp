#include "jobs/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>

#include "ernie_image/error.h"

namespace ernie_image {

FileLock::FileLock(const std::string& path)
    : file_(::open((path + "-lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (!file_.valid()) {
    throw Error(ErrorKind::io, path + "-lock: cannot be made: " + std::strerror(errno));
  }
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK) {
    throw Error(ErrorKind::device, path + ": another process uses this jobs database");
  }
  throw Error(ErrorKind::io, path + "-lock: cannot be locked: " + std::strerror(errno));
}

}  // namespace ernie_image
