// A GGUF file that is accepted must be readable, and decodable, to its last byte.
#include <algorithm>
#include <array>

#include "ernie_image/error.h"
#include "io/gguf.h"
#include "io/weight_files.h"
#include "memory_file.h"

namespace {

using namespace ernie_image;

float sum_of_elements(const Weight& weight) {
  const std::int64_t elements = num_elements(weight.shape);
  std::array<float, 300> values;
  float sum = 0;
  for (std::int64_t begin = 0; begin < elements; begin += std::ssize(values)) {
    const std::int64_t count = std::min(std::ssize(values), elements - begin);
    widen_elements(weight, begin, count, values.data());
    for (std::int64_t i = 0; i < count; ++i) sum += values[static_cast<std::size_t>(i)];
  }
  return sum;
}

bool is_number(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const MemoryFile input(data, size);
  volatile float sink = 0;
  try {
    const GgufFile file = GgufFile::open(input.path());
    for (const std::string& name : file.names()) {
      const Weight weight = file.weight(name);
      sink = sink + static_cast<float>(file.tensor(name).size_bytes());
      const bool readable = weight.format == WeightFormat::encoded ? weight.decoder->is_readable()
                                                                   : is_number(weight.dtype);
      if (readable) sink = sink + sum_of_elements(weight);
    }
    WeightFiles weights(input.path());
    for (const Weight& weight : weights.all()) weights.get(weight.name, weight.shape);
  } catch (const Error&) {
  }
  return 0;
}
