#include "backend/registry.h"

#include <charconv>
#include <optional>
#include <string_view>

#include "backend/ascend/ascend_backend.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cuda_loader.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

/// N of "<kind>:N", 0 of "<kind>", nothing of anything else.
std::optional<int> card_number(std::string_view device, std::string_view kind) {
  if (!device.starts_with(kind)) return std::nullopt;
  std::string_view rest = device.substr(kind.size());
  if (rest.empty()) return 0;
  if (rest.size() < 2 || rest.front() != ':') return std::nullopt;
  rest.remove_prefix(1);
  int number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  const bool whole = error == std::errc() && end == rest.data() + rest.size() && number >= 0;
  return whole ? std::optional(number) : std::nullopt;
}

}  // namespace

bool is_device_name(std::string_view name) {
  return name == "cpu" || card_number(name, "ascend").has_value() ||
         card_number(name, "cuda").has_value();
}

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  if (options.device == "cpu") return make_cpu_backend({options.num_threads, options.cpu_kernels});
  if (const auto card = card_number(options.device, "ascend"))
    return make_ascend_backend({*card, options.ascend_attention, options.offload});
  if (const auto card = card_number(options.device, "cuda"))
    return make_cuda_backend({*card, options.cuda_attention, options.offload});
  throw Error(ErrorKind::invalid_argument,
              "there is no device \"" + options.device +
                  "\"; cpu, cuda, cuda:N, ascend and ascend:N are devices");
}

}  // namespace ernie_image
