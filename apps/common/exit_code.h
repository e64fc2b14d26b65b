// What the program tells its caller: the one place that maps errors to exit codes.
#pragma once

#include <string>

#include "ernie_image/error.h"

namespace ernie_image {

inline constexpr int kExitSuccess = 0;
inline constexpr int kExitFailure = 1;      ///< could not be done, or `rerun` found other pixels
inline constexpr int kExitUsage = 2;        ///< the command line asks for something invalid
inline constexpr int kExitCancelled = 130;  ///< SIGINT or SIGTERM, as shells report Ctrl-C

int exit_code_of(ErrorKind kind);

/// Throws Error(invalid_argument).
[[noreturn]] void usage_error(const std::string& message);

/// What `work` gives. Its errors, which name a file, begin with the flag that named the file.
template <typename Work>
auto naming_flag(const std::string& flag, Work work) {
  try {
    return work();
  } catch (const Error& error) {
    throw Error(error.kind(), flag + ": " + error.what());
  }
}

}  // namespace ernie_image
