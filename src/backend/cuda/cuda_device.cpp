// What the program knows of NVIDIA GPUs before their library is opened.
#include "backend/card/weights.h"
#include "backend/cuda/loader.h"
#include "backend/gelu.h"
#include "backend/parallel.h"

namespace ernie_image {

const DeviceKind& cuda_device() {
  static const DeviceKind kind = {
      .name = "cuda",
      .has_cards = true,
      .options = {card::offload_option(),
                  gelu_option(),
                  parallel_option(),
                  parallel_weights_option(),
                  {"cuda_attention",
                   {"auto", "cudnn", "own"},
                   "which attention NVIDIA GPUs use: auto (default, cuDNN's where it can), cudnn, "
                   "own"}},
      .info = cuda_info,
      .make =
          [](int card, const BackendOptions& options) {
            const DeviceOptions& chosen = options.device_options;
            return make_cuda_backend(
                {card, chosen.at("cuda_attention"), chosen.at("offload"), chosen.at("gelu")});
          },
      .connect = connect_cuda_cards};
  return kind;
}

}  // namespace ernie_image
