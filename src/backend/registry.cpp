#include "backend/registry.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxCards = 64;

/// One device: a kind and which of its cards.
struct DeviceName {
  const DeviceKind* kind;
  int card;
};

/// N of "<kind>:N", 0 of "<kind>", nothing of anything else.
std::optional<int> card_number(std::string_view device, const DeviceKind& kind) {
  if (!device.starts_with(kind.name)) return std::nullopt;
  std::string_view rest = device.substr(kind.name.size());
  if (rest.empty()) return 0;
  if (!kind.has_cards || rest.size() < 2 || rest.front() != ':') return std::nullopt;
  rest.remove_prefix(1);
  int number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  const bool whole = error == std::errc() && end == rest.data() + rest.size() && number >= 0;
  return whole ? std::optional(number) : std::nullopt;
}

std::optional<DeviceName> parsed(std::string_view device) {
  for (const DeviceKind* kind : device_kinds()) {
    if (const auto card = card_number(device, *kind)) return DeviceName{kind, *card};
  }
  return std::nullopt;
}

/// "a, b and c"; "a" alone.
std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i)
    text += (i == 0 ? "" : i + 1 == words.size() ? " and " : ", ") + words[i];
  return text;
}

[[noreturn]] void refuse_device(const std::string& name) {
  std::vector<std::string> names;
  for (const DeviceKind* kind : device_kinds()) {
    names.push_back(kind->name);
    if (kind->has_cards) names.push_back(kind->name + ":N");
  }
  throw Error(ErrorKind::invalid_argument,
              "there is no device \"" + name + "\"; " + listed(names) +
                  (names.size() == 1 ? " is the only one" : " are devices"));
}

void require_known(const DeviceOptions& given) {
  const std::vector<DeviceOption> known = all_device_options();
  for (const auto& [name, value] : given) {
    if (std::ranges::count(known, name, &DeviceOption::name) > 0) continue;
    std::vector<std::string> names;
    for (const DeviceOption& option : known) names.push_back(option.name);
    throw Error(ErrorKind::invalid_argument, "no device of this build has an option \"" + name +
                                                 "\"; there are " +
                                                 (names.empty() ? "none" : listed(names)));
  }
}

const std::string& value_of(const DeviceOption& option, const DeviceOptions& given) {
  const auto found = given.find(option.name);
  if (found == given.end()) return option.values.front();
  if (std::ranges::count(option.values, found->second) > 0) return found->second;
  throw Error(ErrorKind::invalid_argument, flag_of_option(option.name) + ": \"" + found->second +
                                               "\" is none of " + listed(option.values));
}

}  // namespace

const DeviceKind* find_device_kind(const std::string& name) {
  for (const DeviceKind* kind : device_kinds()) {
    if (kind->name == name) return kind;
  }
  return nullptr;
}

const DeviceKind& device_kind(const std::string& device) {
  return *parsed(split_device_list(device).front())->kind;
}

std::vector<DeviceOption> all_device_options() {
  std::vector<DeviceOption> options;
  for (const DeviceKind* kind : device_kinds()) {
    for (const DeviceOption& option : kind->options) {
      if (std::ranges::count(options, option.name, &DeviceOption::name) == 0)
        options.push_back(option);
    }
  }
  return options;
}

DeviceOptions options_of_device(const std::string& device, const DeviceOptions& given) {
  require_known(given);
  DeviceOptions options;
  for (const DeviceOption& option : device_kind(device).options)
    options[option.name] = value_of(option, given);
  return options;
}

std::string offload_of_device(const std::string& device, const DeviceOptions& given) {
  const DeviceOptions options = options_of_device(device, given);
  const auto offload = options.find("offload");
  return offload == options.end() ? "auto" : offload->second;
}

int cards_sharing_weights(const std::string& device, const DeviceOptions& given) {
  const DeviceOptions options = options_of_device(device, given);
  const auto weights = options.find("parallel_weights");
  if (weights == options.end() || weights->second != "split") return 1;
  const std::size_t cards = split_device_list(device).size();
  if (cards == 1) {
    throw Error(ErrorKind::invalid_argument,
                "--parallel-weights split shares weights out among several cards; --device " +
                    device + " is one");
  }
  const std::string& parallel = options.at("parallel");
  if (parallel == "ulysses" || parallel == "guidance") {
    throw Error(ErrorKind::invalid_argument,
                "--parallel-weights split lets every card work on all of a picture; leave out "
                "--parallel " +
                    parallel);
  }
  return static_cast<int>(cards);
}

std::string flag_of_option(const std::string& option) {
  std::string flag = "--" + option;
  std::ranges::replace(flag, '_', '-');
  return flag;
}

std::vector<std::string> split_device_list(const std::string& list) {
  const std::size_t numbers = list.find(':') + 1;  // 0: there are none
  std::vector<std::string> names;
  for (std::size_t begin = numbers; begin <= list.size();) {
    const std::size_t end =
        numbers == 0 ? list.size() : std::min(list.find(',', begin), list.size());
    const std::string name = list.substr(0, numbers) + list.substr(begin, end - begin);
    if (!parsed(name)) refuse_device(name);
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

std::string device_name_pattern() {
  std::string pattern;
  for (const DeviceKind* kind : device_kinds())
    pattern += (pattern.empty() ? "" : "|") + kind->name + (kind->has_cards ? "[:N,...]" : "");
  return pattern;
}

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  const auto name = parsed(options.device);
  if (!name) refuse_device(options.device);
  BackendOptions complete = options;
  complete.device_options = options_of_device(options.device, options.device_options);
  return name->kind->make(name->card, complete);
}

}  // namespace ernie_image
