#include "common/interrupt.h"

#include <csignal>

#include <unistd.h>

#include "common/exit_code.h"

namespace ernie_image {
namespace {

// A signal handler may only touch lock-free atomics.
std::atomic<CancelToken*> active_token = nullptr;
static_assert(std::atomic<CancelToken*>::is_always_lock_free &&
              std::atomic<bool>::is_always_lock_free);

void handle_signal(int) {
  CancelToken* token = active_token.load();
  if (token == nullptr || token->requested()) _exit(kExitCancelled);
  token->request();
}

void set_handler(int signal_number, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal_number, &action, nullptr);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  auto token = std::make_shared<CancelToken>();
  active_token = token.get();
  token_ = std::move(token);
  set_handler(SIGINT, handle_signal);
  set_handler(SIGTERM, handle_signal);
}

InterruptGuard::~InterruptGuard() {
  set_handler(SIGINT, SIG_DFL);
  set_handler(SIGTERM, SIG_DFL);
  active_token = nullptr;
}

}  // namespace ernie_image
