// A library of the right name for its symbol, but of another build: it must not be used.
#include "backend/cuda/plugin.h"

extern "C" __attribute__((visibility("default"))) const ernie_image::CudaPlugin*
ernie_image_cuda_plugin();

const ernie_image::CudaPlugin* ernie_image_cuda_plugin() {
  static const ernie_image::CudaPlugin plugin = {"another build", nullptr, nullptr, nullptr};
  return &plugin;
}
