#include "tokenizer/byte_alphabet.h"

#include <gtest/gtest.h>

#include <set>

namespace ernie_image {
namespace {

TEST(ByteAlphabet, SpellsKnownBytes) {
  EXPECT_EQ(character_of_byte('a'), "a");
  EXPECT_EQ(character_of_byte(' '), "Ġ");
  EXPECT_EQ(character_of_byte('\n'), "Ċ");
  EXPECT_EQ(character_of_byte(0x00), "Ā");
  EXPECT_EQ(character_of_byte(0xAD), "Ń");
  EXPECT_EQ(character_of_byte(0xFF), "ÿ");
}

TEST(ByteAlphabet, EveryByteHasItsOwnCharacterAndComesBack) {
  std::set<std::string_view> characters;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    characters.insert(character_of_byte(static_cast<std::uint8_t>(byte)));
    EXPECT_EQ(bytes_of_token(spell_bytes(one)), one) << byte;
  }
  EXPECT_EQ(characters.size(), 256u);
}

TEST(ByteAlphabet, OtherTokensStandForThemselves) {
  for (const char* token : {"a token", "Ġ猫", "\u0144"}) EXPECT_EQ(bytes_of_token(token), token);
  EXPECT_EQ(bytes_of_token(""), "");
}

}  // namespace
}  // namespace ernie_image
