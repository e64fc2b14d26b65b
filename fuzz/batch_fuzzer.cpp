// The input is a file of `generate --batch`. The first byte says whether its pictures are numbered
// or go to a folder. No picture is of two prompts, none is written twice, lines keep their order.
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string_view>

#include "backend/registry.h"
#include "commands/batch_file.h"
#include "ernie_image/error.h"

// What reads flags of devices asks them, what is fuzzed does not: so that none has to be linked.
namespace ernie_image {
[[gnu::weak]] const DeviceKind& device_kind(const std::string&) { std::abort(); }
}  // namespace ernie_image

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ernie_image;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  GenerateFlags flags;
  flags.batch = "fuzz.jsonl";
  flags.output = data[0] == 'f' ? "./" : "out-%03d.png";
  try {
    std::size_t line = 0;
    std::set<std::string> paths;
    for (const BatchPicture& picture : parse_batch(text, flags)) {
      if (picture.line <= line || picture.request.prompts.size() != 1) std::abort();
      if (picture.request.negative_prompts.size() > 1 || picture.request.seeds.size() > 1)
        std::abort();
      if (!paths.insert(picture.path).second) std::abort();
      line = picture.line;
    }
  } catch (const Error&) {
  }
  return 0;
}
