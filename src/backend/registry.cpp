#include "backend/registry.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "backend/ascend/ascend_backend.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cuda_loader.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxCards = 64;

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

bool is_device_name(std::string_view name) {
  return name == "cpu" || card_number(name, "ascend").has_value() ||
         card_number(name, "cuda").has_value();
}

[[noreturn]] void refuse_device(const std::string& name) {
  throw Error(
      ErrorKind::invalid_argument,
      "there is no device \"" + name + "\"; cpu, cuda, cuda:N, ascend and ascend:N are devices");
}

}  // namespace

std::vector<std::string> split_device_list(const std::string& list) {
  const std::size_t numbers = list.find(':') + 1;  // 0: there are none
  std::vector<std::string> names;
  for (std::size_t begin = numbers; begin <= list.size();) {
    const std::size_t end =
        numbers == 0 ? list.size() : std::min(list.find(',', begin), list.size());
    const std::string name = list.substr(0, numbers) + list.substr(begin, end - begin);
    if (!is_device_name(name)) refuse_device(name);
    if (std::ranges::find(names, name) != names.end())
      throw Error(ErrorKind::invalid_argument, "the device " + name + " is named twice");
    if (names.size() == kMaxCards)
      throw Error(ErrorKind::invalid_argument,
                  "more than " + std::to_string(kMaxCards) + " devices are named");
    names.push_back(name);
    begin = end + 1;
  }
  return names;
}

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  if (options.device == "cpu") return make_cpu_backend({options.num_threads, options.cpu_kernels});
  if (const auto card = card_number(options.device, "ascend"))
    return make_ascend_backend({*card, options.ascend_attention, options.offload});
  if (const auto card = card_number(options.device, "cuda"))
    return make_cuda_backend({*card, options.cuda_attention, options.offload});
  refuse_device(options.device);
}

}  // namespace ernie_image
