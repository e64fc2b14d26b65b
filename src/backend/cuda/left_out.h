// $ERNIE_IMAGE_CUDA_WITHOUT, to find out which library a wrong result comes from.
#pragma once

#include <cstdlib>
#include <sstream>
#include <string>

namespace ernie_image::cuda {

/// Whether `part` is in the list, which is separated by commas: cublaslt, cudnn-conv.
inline bool is_left_out(const std::string& part) {
  const char* const given = std::getenv("ERNIE_IMAGE_CUDA_WITHOUT");
  if (given == nullptr) return false;
  std::istringstream list(given);
  for (std::string entry; std::getline(list, entry, ',');) {
    if (entry == part) return true;
  }
  return false;
}

}  // namespace ernie_image::cuda
