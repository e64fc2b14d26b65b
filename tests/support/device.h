// The device that golden tests run on: $ERNIE_IMAGE_TEST_DEVICE, else the CPU.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include "backend/registry.h"

namespace ernie_image {

inline std::string test_device() {
  const char* name = std::getenv("ERNIE_IMAGE_TEST_DEVICE");
  return name == nullptr ? "cpu" : name;
}

inline std::unique_ptr<Backend> make_test_backend() {
  BackendOptions options;
  options.device = test_device();
  return make_backend(options);
}

}  // namespace ernie_image
