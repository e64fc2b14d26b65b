// Numbers into the block types of GGUF: the reverse of gguf_blocks.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "io/gguf_blocks.h"

namespace ernie_image {

/// F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 IQ4_NL Q4_K Q5_K Q6_K. The first eight give the bytes of
/// gguf 0.19; the others are searched for the smallest squared error, and give those of no
/// other program.
bool can_encode(const GgufType& type);

/// `count` consecutive weights, whole blocks of `type`, at `values` to `target`. Finite values
/// only: others, and those beyond what the type's scale can say, give Error(invalid_argument).
void encode_gguf(const GgufType& type, const float* values, std::int64_t count, std::byte* target);

}  // namespace ernie_image
