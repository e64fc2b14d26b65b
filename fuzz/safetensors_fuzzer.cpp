// A file that is accepted must be readable to its last byte.
#include "io/safetensors.h"

#include "ernie_image/error.h"
#include "memory_file.h"

namespace {

unsigned sum_of_bytes(const std::byte* data, std::size_t size) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < size; ++i) sum += std::to_integer<unsigned>(data[i]);
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ernie_image;
  const MemoryFile input(data, size);
  try {
    const SafetensorsFile file = SafetensorsFile::open(input.path());
    for (const std::string& name : file.names()) {
      const Weight weight = file.weight(name);
      const Tensor tensor = file.tensor(name);
      const std::size_t bytes = weight.size_bytes();
      if (sum_of_bytes(weight.data, bytes) != sum_of_bytes(tensor.bytes(), bytes)) std::abort();
    }
  } catch (const Error&) {
  }
  return 0;
}
