#include "eval/configuration.h"

#include <algorithm>
#include <set>

#include "backend/registry.h"
#include "common/flags.h"
#include "common/limits.h"
#include "common/parse_values.h"
#include "core/enum_names.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr double kMaxThresholdPercent = 100;
constexpr const char* kAttention = "attention";

[[noreturn]] void fail(const std::string& flag, const std::string& message) {
  throw Error(ErrorKind::invalid_argument, flag + ": " + message + "; write " + kSpecHelp);
}

template <Named Enum>
Enum read_name(const std::string& flag, const std::string& key, const std::string& value) {
  const std::optional<Enum> result = from_name<Enum>(value);
  if (!result) {
    fail(flag, printable(value) + " is not a " + key + " (" + all_names<Enum>(", ") + ")");
  }
  return *result;
}

bool is_device_option(const std::string& key) {
  return std::ranges::count(all_device_options(), key, &DeviceOption::name) > 0;
}

/// "attention" is that of the device, whichever it is; of one without, nothing.
void name_attention(LoadOptions& load) {
  const auto given = load.device_options.extract(kAttention);
  if (given.empty()) return;
  const std::string name = device_kind(load.device).name + "_" + kAttention;
  if (is_device_option(name)) load.device_options[name] = given.mapped();
}

void set_key(const std::string& flag, const std::string& key, const std::string& value,
             Configuration& configuration) {
  LoadOptions& load = configuration.load;
  if (value.empty()) fail(flag, key + " has no value");
  if (key == "dtype") {
    load.precision = read_name<Precision>(flag, key, value);
  } else if (key == "quant") {
    load.quantization = read_name<Quantization>(flag, key, value);
  } else if (key == "device") {
    load.device = value;
  } else if (key == kAttention || is_device_option(key)) {
    load.device_options[key] = value;
  } else if (key == "kernels") {
    load.cpu_kernels = value;
  } else if (key == "threads") {
    load.num_threads = static_cast<int>(parse_integer(flag + " threads", value, 1, kMaxThreads));
  } else if (key == "model") {
    load.model = value;
  } else if (key == "threshold") {
    configuration.threshold_nmse_percent =
        parse_number(flag + " threshold", value, 0, kMaxThresholdPercent);
  } else {
    fail(flag, printable(key) + " is not a key");
  }
}

}  // namespace

Configuration parse_configuration(const std::string& flag, const std::string& text,
                                  const LoadOptions& defaults) {
  require_utf8(flag, text);
  Configuration configuration{text, defaults, {}};
  std::set<std::string> seen;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t equals = part.find('=');
    const bool is_bare = equals == std::string::npos;
    const std::string key = is_bare ? "dtype" : part.substr(0, equals);
    if (!seen.insert(key).second) fail(flag, key + " is given twice");
    set_key(flag, key, is_bare ? part : part.substr(equals + 1), configuration);
  }
  name_attention(configuration.load);
  return configuration;
}

std::string file_name_of(const std::string& label) {
  constexpr std::size_t kLongest = 60;
  std::string name = label.substr(0, kLongest);
  const auto is_plain = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  std::replace_if(
      name.begin(), name.end(), [&](char c) { return !is_plain(c); }, '-');
  return name;
}

}  // namespace ernie_image
