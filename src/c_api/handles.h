// Handles of the C API: numbers that look like pointers and are never given twice, so that one
// which was freed is recognised.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "ernie_image/error.h"

namespace ernie_image::c_api {

class Object {
 public:
  virtual ~Object() = default;
  /// Called once, from any thread, perhaps while another works with the object.
  virtual void close() noexcept {}
  /// Whether it has threads, which a forked child does not have.
  virtual bool needs_its_process() const noexcept { return false; }
};

void* register_object(std::shared_ptr<Object> object);

/// Nothing for a handle that is not open. Throws Error(unsupported) for an object of another
/// process.
std::shared_ptr<Object> find_object(const void* handle);

/// Does nothing for a handle that is not open.
void close_object(const void* handle) noexcept;

/// `what`: "pipeline". Throws Error(invalid_argument) for a handle that is not one of these.
template <class T>
std::shared_ptr<T> open_handle(const void* handle, const std::string& what) {
  auto object = std::dynamic_pointer_cast<T>(find_object(handle));
  if (object != nullptr) return object;
  throw Error(ErrorKind::invalid_argument,
              handle == nullptr ? "the " + what + " is NULL"
                                : "the " + what +
                                      " was freed, or the handle is that of something "
                                      "else");
}

/// The same for accessors: nothing, and no error.
template <class T>
std::shared_ptr<T> find_handle(const void* handle) noexcept {
  try {
    return std::dynamic_pointer_cast<T>(find_object(handle));
  } catch (...) {
    return nullptr;
  }
}

}  // namespace ernie_image::c_api
