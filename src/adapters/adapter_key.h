// The names of tensors in adapter files: "<prefix><module><suffix>", in every spelling that the
// known programs write.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

/// What a tensor is to its module.
enum class AdapterPart {
  alpha,           ///< scalar
  down,            ///< LoRA's A [r, in]
  up,              ///< LoRA's B [out, r]
  up_bias,         ///< [out], added to the layer's bias times the scale
  magnitude,       ///< DoRA's: [out] or [out, 1] of the rows, [1, in] of the columns
  embedding_down,  ///< [r, vocabulary]
  embedding_up,    ///< [width, r]
  kron_1,          ///< LoKr's first factor [a, b], or
  kron_1_a,        ///< [a, r] and
  kron_1_b,        ///< [r, b]
  kron_2,          ///< its second factor [out / a, in / b], or
  kron_2_a,
  kron_2_b,
  hada_1_a,  ///< LoHa: (1_a 1_b) * (2_a 2_b), [out, r] and [r, in] each
  hada_1_b,
  hada_2_a,
  hada_2_b,
  difference,       ///< as the weight
  bias_difference,  ///< as the bias
  replacement,      ///< as the weight
  tucker,           ///< of convolutions; nothing that this model has
};

struct AdapterKey {
  std::string path;  ///< prefix and module
  AdapterPart part;
};

/// Nothing for a key with no known suffix.
std::optional<AdapterKey> parse_adapter_key(std::string_view key);

/// Which component a prefix names.
enum class AdapterComponent { transformer, text_encoder, any };

struct AdapterPrefix {
  std::string_view text;
  bool is_flattened;  ///< the module follows with "_" in place of "."
  AdapterComponent component;
};

/// All that `path` begins with, the longest first; the empty one is always the last.
std::vector<AdapterPrefix> prefixes_of(std::string_view path);

}  // namespace ernie_image
