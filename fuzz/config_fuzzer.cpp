// Every getter on every kind of value, nested objects too.
#include "io/json_reader.h"

#include "ernie_image/error.h"
#include "memory_file.h"

namespace {

using ernie_image::JsonReader;

void ignore_errors(const auto& action) {
  try {
    action();
  } catch (const ernie_image::Error&) {
  }
}

void read_everything(const JsonReader& config) {
  for (const char* key : {"a", "b", "text_config"}) {
    ignore_errors([&] { config.integer(key, 0, -100, 1 << 20); });
    ignore_errors([&] { config.integer(key, 0, 1000); });
    ignore_errors([&] { config.number(key, 0.5); });
    ignore_errors([&] { config.boolean(key, true); });
    ignore_errors([&] { config.text(key, ""); });
    ignore_errors([&] { config.integers(key, {}, 0, 1 << 20); });
    ignore_errors([&] {
      if (const auto nested = config.object(key)) read_everything(*nested);
    });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ernie_image::MemoryFile input(data, size);
  ignore_errors([&] { read_everything(JsonReader::open(input.path())); });
  return 0;
}
