#include "c_api/c_error.h"

#include <array>
#include <exception>

#include "ernie_image/pipeline.h"

struct ernie_image_error {
  ernie_image_status status = ERNIE_IMAGE_INTERNAL;
  std::string message;
};

namespace ernie_image::c_api {
namespace {

constexpr std::array<const char*, 11> kStatusNames = {
    "ok", "invalid_argument", "not_found", "corrupt_file", "unsupported", "out_of_memory", "device",
    "io", "cancelled",        "busy",      "internal"};

/// Where there is no memory for another.
ernie_image_error* out_of_memory_error() {
  static ernie_image_error error{ERNIE_IMAGE_OUT_OF_MEMORY, "out of memory"};
  return &error;
}

ernie_image_status give(ernie_image_error** error, ernie_image_status status,
                        const char* message) noexcept {
  if (error == nullptr) return status;
  try {
    *error = new ernie_image_error{status, message};
  } catch (const std::bad_alloc&) {
    *error = out_of_memory_error();
  }
  return status;
}

}  // namespace

ernie_image_status status_of(ErrorKind kind) {
  return static_cast<ernie_image_status>(static_cast<int>(kind) + 1);
}

static_assert(static_cast<int>(ErrorKind::cancelled) + 1 == ERNIE_IMAGE_CANCELLED &&
              static_cast<int>(ErrorKind::out_of_memory) + 1 == ERNIE_IMAGE_OUT_OF_MEMORY);

ernie_image_status report_exception(ernie_image_error** error) noexcept {
  try {
    throw;
  } catch (const BusyError& busy) {
    return give(error, ERNIE_IMAGE_BUSY, busy.what());
  } catch (const Error& known) {
    return give(error, status_of(known.kind()), known.what());
  } catch (const std::bad_alloc&) {
    return give(error, ERNIE_IMAGE_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& unknown) {
    return give(error, ERNIE_IMAGE_INTERNAL, unknown.what());
  } catch (...) {
    return give(error, ERNIE_IMAGE_INTERNAL, "a callback threw something that is no error");
  }
}

}  // namespace ernie_image::c_api

using namespace ernie_image::c_api;

ernie_image_status ernie_image_error_status(const ernie_image_error* error) {
  return error == nullptr ? ERNIE_IMAGE_OK : error->status;
}

const char* ernie_image_error_message(const ernie_image_error* error) {
  return error == nullptr ? "" : error->message.c_str();
}

void ernie_image_error_free(ernie_image_error* error) {
  if (error != out_of_memory_error()) delete error;
}

const char* ernie_image_status_name(int32_t status) {
  const auto index = static_cast<std::size_t>(status);
  return index < kStatusNames.size() ? kStatusNames[index] : "unknown";
}

const char* ernie_image_version() { return ernie_image::version(); }
