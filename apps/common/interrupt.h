// Ctrl-C asks the run to stop instead of killing it, so that no partial file is left.
#pragma once

#include <memory>

#include "ernie_image/cancel.h"

namespace ernie_image {

/// While alive, SIGINT and SIGTERM request `token`; a second one ends the process at once, with
/// exit code 130. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  const std::shared_ptr<const CancelToken>& token() const { return token_; }

 private:
  std::shared_ptr<const CancelToken> token_;
};

}  // namespace ernie_image
