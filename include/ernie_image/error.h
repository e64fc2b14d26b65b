// The one exception type of the library.
#pragma once

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>

#include "ernie_image/export.h"

namespace ernie_image {

/// What went wrong, coarsely: programs map it to an exit or HTTP status, people read the message.
enum class ErrorKind {
  invalid_argument,  ///< a request, flag or call that cannot be served as asked
  not_found,         ///< a file, folder, model or device that is not there
  corrupt_file,      ///< a file that is not what it claims to be, or is cut short
  unsupported,       ///< well-formed, but not something this build or device can do
  out_of_memory,     ///< the memory plan does not fit, or an allocation failed
  device,            ///< a device or its driver failed
  io,                ///< the operating system refused to read or write
  cancelled,         ///< the caller asked to stop
};

/// In the order of the enumerators.
constexpr std::array<std::string_view, 8> names_of(ErrorKind) {
  return {"invalid_argument", "not_found", "corrupt_file", "unsupported",
          "out_of_memory",    "device",    "io",           "cancelled"};
}

/// Thrown for everything a user, a file or a device can cause.
/// The message says where, what was found, what was expected, and what to do about it.
class ERNIE_IMAGE_API Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace ernie_image
