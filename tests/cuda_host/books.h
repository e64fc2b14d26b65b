// What the stand-in has counted, for tests: dlsym "cuda_host_books".
#pragma once

#include <cstdint>

struct CudaHostBooks {
  std::uint64_t capacity_bytes;  ///< may be changed
  std::uint64_t bytes_in_use;
  std::uint64_t peak_bytes;
  std::uint64_t allocations;
  std::uint64_t graph_launches;
};
