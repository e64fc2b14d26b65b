// What a picture says of how it was made, and the settings that the A1111 web UI writes. The first
// byte says which.
#include <cstdlib>
#include <string>
#include <vector>

#include "backend/registry.h"
#include "common/flags.h"
#include "common/image_record.h"
#include "common/infotext.h"
#include "common/latents_file.h"
#include "ernie_image/error.h"
#include "ernie_image/pipeline.h"

// What makes records asks devices and flags, what reads them does not: so that none has to be
// linked.
namespace ernie_image {
[[gnu::weak]] const char* version() { std::abort(); }
[[gnu::weak]] std::string kernels_used(const LoadOptions&) { std::abort(); }
[[gnu::weak]] std::string latents_hash(const std::vector<float>&) { std::abort(); }
[[gnu::weak]] const DeviceKind& device_kind(const std::string&) { std::abort(); }
[[gnu::weak]] DeviceOptions options_of_device(const std::string&, const DeviceOptions&) {
  std::abort();
}
}  // namespace ernie_image

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ernie_image;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'i') {
    const Infotext infotext = parse_infotext(text);
    if (infotext.prompt.size() + infotext.negative_prompt.size() > text.size()) std::abort();
    return 0;
  }
  try {
    infotext_of(parse_image_record("fuzz", text));
  } catch (const Error&) {
  }
  return 0;
}
