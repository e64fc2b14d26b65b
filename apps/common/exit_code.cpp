#include "common/exit_code.h"

namespace ernie_image {

int exit_code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::invalid_argument:
      return kExitUsage;
    case ErrorKind::cancelled:
      return kExitCancelled;
    case ErrorKind::not_found:
    case ErrorKind::corrupt_file:
    case ErrorKind::unsupported:
    case ErrorKind::out_of_memory:
    case ErrorKind::device:
    case ErrorKind::io:
      return kExitFailure;
  }
  return kExitFailure;
}

void usage_error(const std::string& message) { throw Error(ErrorKind::invalid_argument, message); }

}  // namespace ernie_image
