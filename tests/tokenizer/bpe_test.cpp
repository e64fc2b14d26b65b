#include "tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tokenizer/byte_alphabet.h"

namespace ernie_image {
namespace {

constexpr std::uint32_t kMerges = 1 << 14;

std::string letters(std::uint32_t value, char first) {
  std::string text(1, first);
  for (int i = 0; i < 4; ++i) text += static_cast<char>('a' + (value >> 4 * i & 15));
  return text;
}

/// Seconds to load merges of the left tokens `left_of` says with one right token each, 1 to
/// kMerges.
template <class LeftOf>
double seconds_to_load(LeftOf left_of) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.emplace_back(character_of_byte(static_cast<std::uint8_t>(byte)));
  }
  const auto rights = static_cast<std::uint32_t>(tokens.size());
  for (std::uint32_t i = 0; i < kMerges; ++i) tokens.push_back(letters(i, 'R'));
  const auto lefts = static_cast<std::uint32_t>(tokens.size());
  for (std::uint32_t i = 0; i < 2 * kMerges; ++i) tokens.push_back(letters(i, 'L'));
  std::vector<MergeRule> merges;
  for (std::uint32_t i = 0; i < kMerges; ++i) {
    const std::uint32_t left = left_of(rights + i, lefts);
    merges.emplace_back(tokens[left], tokens[rights + i]);
    tokens.push_back(tokens[left] + tokens[rights + i]);
  }
  const Vocabulary vocabulary(std::move(tokens), "test");
  const auto start = std::chrono::steady_clock::now();
  const Bpe bpe(vocabulary, merges, false, "test");
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A plain multiplication maps pairs to slots that whoever writes the file can choose.
TEST(Bpe, MergesThatWouldShareASlotLoadAsFastAsOthers) {
  const std::uint64_t factor = 0x9E3779B97F4A7C15u;
  const auto colliding = [&](std::uint32_t right, std::uint32_t lefts) {
    std::uint32_t left = lefts;
    const auto slot = [&] {
      return ((static_cast<std::uint64_t>(left) << 32 | right) * factor >> 32) & (2 * kMerges - 1);
    };
    while (slot() != 7) ++left;  // the low bits of the factor are odd: one of 2 * kMerges has it
    return left;
  };
  const auto plain = [](std::uint32_t right, std::uint32_t lefts) { return lefts + right % 97; };
  const double usual = seconds_to_load(plain);
  EXPECT_LT(seconds_to_load(colliding), 8 * usual + 0.01);
}

}  // namespace
}  // namespace ernie_image
