// Opens libernie_image_cuda.so as the program does and prints what it says about this machine; with
// no card, asking for one must be an error that gives the same reason.
#include <cstdio>

#include "backend/cuda/loader.h"
#include "ernie_image/error.h"

int main() {
  const ernie_image::DeviceInfo info = ernie_image::cuda_info();
  std::printf("%s\n", info.path->c_str());
  for (const std::string& library : info.libraries) std::printf("  %s\n", library.c_str());
  for (const auto& card : info.cards) std::printf("cuda:%d: %s\n", card.index, card.name.c_str());
  if (info.libraries.empty()) {
    std::fprintf(stderr, "%s\n", info.problem.c_str());
    return 1;
  }
  if (!info.cards.empty()) return 0;
  std::printf("none: %s\n", info.problem.c_str());
  try {
    ernie_image::make_cuda_backend({});
  } catch (const ernie_image::Error& error) {
    const bool same = std::string(error.what()).find(info.problem) != std::string::npos;
    return same && error.kind() == ernie_image::ErrorKind::not_found ? 0 : 1;
  }
  return 1;
}
