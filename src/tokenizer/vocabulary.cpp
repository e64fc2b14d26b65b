#include "tokenizer/vocabulary.h"

#include <bit>

#include "ernie_image/error.h"
#include "io/json.h"
#include "tokenizer/secret_hash.h"

namespace ernie_image {
namespace {

std::uint32_t hash_of(std::string_view token) {
  return static_cast<std::uint32_t>(secret_hash(token));
}

}  // namespace

Vocabulary::Vocabulary(std::vector<std::string> tokens, const std::string& where)
    : tokens_(std::move(tokens)), slots_(std::bit_ceil(2 * tokens_.size() + 1)) {
  for (std::int32_t id = 0; id < size(); ++id) {
    if (tokens_[id].empty()) continue;
    const std::uint32_t hash = hash_of(tokens_[id]);
    Slot& slot = slots_[slot_of(tokens_[id], hash)];
    if (slot.id != kNone) {
      throw Error(ErrorKind::corrupt_file, where + ": token " + printable(tokens_[id]) +
                                               " has the ids " + std::to_string(slot.id) + " and " +
                                               std::to_string(id));
    }
    slot = {hash, id};
  }
}

std::int32_t Vocabulary::find(std::string_view token) const {
  return slots_[slot_of(token, hash_of(token))].id;
}

// The slot that holds `token`, or the free one where it belongs.
std::size_t Vocabulary::slot_of(std::string_view token, std::uint32_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = hash & mask;
  while (slots_[i].id != kNone && (slots_[i].hash != hash || tokens_[slots_[i].id] != token)) {
    i = (i + 1) & mask;
  }
  return i;
}

}  // namespace ernie_image
