// What the stand-ins for cards have counted: CANN's (tests/ascend_standin) and CUDA's
// (tests/cuda_host), by the name of the device.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>

#include "ascend_standin/machine.h"
#include "cuda_host/books.h"

namespace ernie_image {

/// Of the first card.
struct CardBooks {
  std::function<std::uint64_t()> bytes_in_use, peak_bytes, violations;
  std::function<void()> reset_peak;
  std::function<void(std::uint64_t bytes)> set_capacity;
};

inline void* symbol_of(const char* library, const char* name) {
  void* const opened = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  return opened == nullptr ? nullptr : dlsym(opened, name);
}

inline CudaHostBooks* shim_books() {
  const char* const path = std::getenv("ERNIE_IMAGE_CUDA_LIBRARY");
  void* const found = path == nullptr ? nullptr : symbol_of(path, "cuda_host_books");
  return found == nullptr ? nullptr : reinterpret_cast<CudaHostBooks* (*)()>(found)();
}

inline std::optional<CardBooks> cuda_books() {
  CudaHostBooks* const books = shim_books();
  if (books == nullptr) return std::nullopt;
  return CardBooks{[=] { return books->bytes_in_use; }, [=] { return books->peak_bytes; },
                   [] { return std::uint64_t{0}; },
                   [=] { books->peak_bytes = books->bytes_in_use; },
                   [=](std::uint64_t bytes) { books->capacity_bytes = bytes; }};
}

inline std::optional<CardBooks> ascend_books() {
  const auto function = [](const char* name) { return symbol_of("libascendcl.so", name); };
  if (function("standin_books") == nullptr) return std::nullopt;
  const auto count = reinterpret_cast<decltype(standin_books)*>(function("standin_books"));
  const auto now = [=] {
    StandinBooks books{};
    count(0, &books);
    return books;
  };
  const auto reset =
      reinterpret_cast<decltype(standin_reset_peak)*>(function("standin_reset_peak"));
  const auto limit =
      reinterpret_cast<decltype(standin_set_capacity)*>(function("standin_set_capacity"));
  return CardBooks{[=] { return now().bytes_in_use; }, [=] { return now().peak_bytes; },
                   [=] { return now().violations; }, [=] { reset(0); },
                   [=](std::uint64_t bytes) { limit(0, bytes); }};
}

/// Nothing where no stand-in is loaded, or a real card is there.
inline std::optional<CardBooks> card_books(const std::string& device) {
  return device == "cuda" ? cuda_books() : ascend_books();
}

}  // namespace ernie_image
