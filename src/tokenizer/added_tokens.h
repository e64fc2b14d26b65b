// Cutting added tokens ("<s>", "[INST]"…) out of a text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ernie_image {

/// A piece of text, or one occurrence of an added token.
struct Segment {
  static constexpr std::int32_t kText = -1;
  std::string_view text;
  std::int32_t id = kText;
};

/// A trie over the bytes of the tokens; the leftmost, then longest occurrence wins.
class AddedTokenMatcher {
 public:
  /// Longer tokens are refused, so that a search stays linear in the text.
  static constexpr std::size_t kMaxTokenBytes = 1024;

  /// `token`: 1 to kMaxTokenBytes bytes.
  void add(std::string_view token, std::int32_t id);

  /// `text` in order, without empty pieces; the segments view into it.
  std::vector<Segment> split(std::string_view text) const;

 private:
  Segment longest_at(std::string_view text) const;

  std::unordered_map<std::uint64_t, std::uint32_t> children_;  // node << 8 | byte -> node
  std::vector<std::int32_t> ids_{Segment::kText};              // by node; node 0 is the root
};

}  // namespace ernie_image
