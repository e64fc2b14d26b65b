#include "tokenizer/added_tokens.h"

#include <cassert>

namespace ernie_image {
namespace {

std::uint64_t edge(std::uint32_t node, char byte) {
  return static_cast<std::uint64_t>(node) << 8 | static_cast<std::uint8_t>(byte);
}

}  // namespace

void AddedTokenMatcher::add(std::string_view token, std::int32_t id) {
  assert(!token.empty() && token.size() <= kMaxTokenBytes);
  std::uint32_t node = 0;
  for (const char byte : token) {
    const auto next = static_cast<std::uint32_t>(ids_.size());
    const auto [child, inserted] = children_.try_emplace(edge(node, byte), next);
    if (inserted) ids_.push_back(Segment::kText);
    node = child->second;
  }
  ids_[node] = id;
}

std::vector<Segment> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<Segment> segments;
  std::size_t text_begin = 0;
  const auto flush_text = [&](std::size_t end) {
    if (end > text_begin) segments.push_back({text.substr(text_begin, end - text_begin)});
  };
  for (std::size_t position = 0; position < text.size();) {
    const Segment token = longest_at(text.substr(position));
    if (token.id == Segment::kText) {
      ++position;
      continue;
    }
    flush_text(position);
    segments.push_back(token);
    position += token.text.size();
    text_begin = position;
  }
  flush_text(text.size());
  return segments;
}

// The longest token that `text` begins with, or an empty text segment.
Segment AddedTokenMatcher::longest_at(std::string_view text) const {
  Segment longest;
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto child = children_.find(edge(node, text[i]));
    if (child == children_.end()) break;
    node = child->second;
    if (ids_[node] != Segment::kText) longest = {text.substr(0, i + 1), ids_[node]};
  }
  return longest;
}

}  // namespace ernie_image
