// What quantised tensors of a safetensors file are put together to must be decodable to its last
// byte.
#include <algorithm>
#include <array>

#include "ernie_image/error.h"
#include "io/weight_files.h"
#include "memory_file.h"

namespace {

using namespace ernie_image;

/// The ends and something in between: shapes may be as large as the types allow, up to 2^31 each
/// way.
float sum_of_some(const Weight& weight) {
  const std::int64_t elements = num_elements(weight.shape);
  std::array<float, 300> values;
  float sum = 0;
  for (const std::int64_t at : {std::int64_t{0}, elements / 2, elements - 300}) {
    const std::int64_t begin = std::clamp<std::int64_t>(at, 0, elements);
    const std::int64_t count = std::min(std::ssize(values), elements - begin);
    widen_elements(weight, begin, count, values.data());
    for (std::int64_t i = 0; i < count; ++i) sum += values[static_cast<std::size_t>(i)];
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const MemoryFile input(data, size);
  volatile float sink = 0;
  try {
    WeightFiles weights(input.path());
    for (const Weight& stored : weights.all()) {
      const Weight weight = weights.get(stored.name, stored.shape);
      if (weight.data != nullptr && !is_packed(weight.format)) sink = sink + sum_of_some(weight);
    }
    sink = sink + static_cast<float>(weights.unused().size());
  } catch (const Error&) {
  }
  return 0;
}
