// The border of the C API: no exception crosses it.
#pragma once

#include <new>
#include <string>
#include <utility>

#include "ernie_image/c.h"
#include "ernie_image/error.h"

namespace ernie_image::c_api {

/// Thrown for a pipeline that is at work.
class BusyError : public Error {
 public:
  explicit BusyError(const std::string& message) : Error(ErrorKind::invalid_argument, message) {}
};

ernie_image_status status_of(ErrorKind kind);

/// Of the exception that is being handled; `*error`, if there is one, says what it says.
ernie_image_status report_exception(ernie_image_error** error) noexcept;

/// What `body` returns, or `failure`.
template <class Body, class Value>
Value guarded(ernie_image_error** error, Value failure, Body&& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    report_exception(error);
    return failure;
  }
}

/// The same for a call that returns its status.
template <class Body>
ernie_image_status guarded_status(ernie_image_error** error, Body&& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    std::forward<Body>(body)();
    return ERNIE_IMAGE_OK;
  } catch (...) {
    return report_exception(error);
  }
}

}  // namespace ernie_image::c_api
