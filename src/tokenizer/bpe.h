// Byte-pair encoding: merging the characters of a piece into tokens of the vocabulary.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace ernie_image {

/// Two tokens, spelled in the byte alphabet.
using MergeRule = std::pair<std::string, std::string>;

class Bpe {
 public:
  /// `merges`, best rank first; of equal pairs the last counts, as in the reference. `vocabulary`
  /// must outlive the object. Throws Error(corrupt_file), beginning with `where`: a byte without a
  /// token, a merge that names or makes an unknown token.
  Bpe(const Vocabulary& vocabulary, const std::vector<MergeRule>& merges, bool ignore_merges,
      const std::string& where);

  /// Appends the ids of one piece of text, in O(n log n) of its bytes.
  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;

 private:
  struct Merge {
    std::int32_t left = Vocabulary::kNone;  // kNone: free slot
    std::int32_t right = Vocabulary::kNone;
    std::int32_t merged = Vocabulary::kNone;
    std::uint32_t rank = 0;
  };
  struct Symbols;

  void read_bytes(const std::string& where);
  void read_merges(const std::vector<MergeRule>& merges, const std::string& where);
  std::size_t slot_of(std::int32_t left, std::int32_t right) const;
  const Merge* find_merge(std::int32_t left, std::int32_t right) const;

  const Vocabulary& vocabulary_;
  bool ignore_merges_;  // a piece that is a token as a whole is not built from merges
  std::array<std::int32_t, 256> byte_ids_;
  std::vector<Merge> merges_;  // hashed by (left, right); a power of two of them
};

}  // namespace ernie_image
