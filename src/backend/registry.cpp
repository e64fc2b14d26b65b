#include "backend/registry.h"

#include "backend/cpu/cpu_backend.h"
#include "ernie_image/error.h"

namespace ernie_image {

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  if (options.device == "cpu") return make_cpu_backend({options.num_threads, options.cpu_kernels});
  throw Error(ErrorKind::invalid_argument,
              "there is no device \"" + options.device + "\"; --device cpu is");
}

}  // namespace ernie_image
