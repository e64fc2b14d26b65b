#include "tokenizer/bpe.h"

#include <bit>
#include <queue>

#include "ernie_image/error.h"
#include "io/json.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/secret_hash.h"

namespace ernie_image {
namespace {

constexpr std::int32_t kNone = -1;

// A possible merge of the symbol at `left` with its right neighbour.
struct Candidate {
  std::uint32_t rank;
  std::int32_t left;
  std::int32_t id;  // of the merged token

  // For the queue, whose top is the greatest: lowest rank first, then leftmost.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

// A token so far; the symbols of a piece are a doubly linked list within an array.
struct Symbol {
  std::int32_t id;  // kNone: merged into the symbol to the left
  std::int32_t previous;
  std::int32_t next;
};

}  // namespace

// One piece being merged.
struct Bpe::Symbols {
  const Bpe& bpe;
  std::vector<Symbol> symbols;
  std::priority_queue<Candidate> queue;

  Symbols(const Bpe& owner, std::string_view piece) : bpe(owner) {
    const auto count = static_cast<std::int32_t>(piece.size());
    symbols.reserve(piece.size());
    for (std::int32_t i = 0; i < count; ++i) {
      const std::int32_t id = bpe.byte_ids_[static_cast<std::uint8_t>(piece[i])];
      symbols.push_back({id, i - 1, i + 1 < count ? i + 1 : kNone});
    }
    for (std::int32_t i = 0; i + 1 < count; ++i) propose(i);
  }

  void propose(std::int32_t left) {
    if (left == kNone || symbols[left].next == kNone) return;
    const Merge* merge = bpe.find_merge(symbols[left].id, symbols[symbols[left].next].id);
    if (merge != nullptr) queue.push({merge->rank, left, merge->merged});
  }

  // A candidate is stale when one of its symbols has since been merged with another neighbour.
  bool still_holds(const Candidate& candidate) const {
    const Symbol& left = symbols[candidate.left];
    if (left.id == kNone || left.next == kNone) return false;
    const Merge* merge = bpe.find_merge(left.id, symbols[left.next].id);
    return merge != nullptr && merge->merged == candidate.id;
  }

  void apply(const Candidate& candidate) {
    Symbol& left = symbols[candidate.left];
    Symbol& right = symbols[left.next];
    left.id = candidate.id;
    left.next = right.next;
    right.id = kNone;
    if (left.next != kNone) symbols[left.next].previous = candidate.left;
    propose(left.previous);
    propose(candidate.left);
  }

  void merge_all() {
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      if (still_holds(best)) apply(best);
    }
  }
};

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<MergeRule>& merges, bool ignore_merges,
         const std::string& where)
    : vocabulary_(vocabulary),
      ignore_merges_(ignore_merges),
      merges_(std::bit_ceil(2 * merges.size() + 1)) {
  read_bytes(where);
  read_merges(merges, where);
}

void Bpe::read_bytes(const std::string& where) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string_view character = character_of_byte(static_cast<std::uint8_t>(byte));
    byte_ids_[byte] = vocabulary_.find(character);
    if (byte_ids_[byte] != kNone) continue;
    throw Error(ErrorKind::corrupt_file, where + ": model.vocab has no token for byte " +
                                             std::to_string(byte) + ", expected all 256");
  }
}

void Bpe::read_merges(const std::vector<MergeRule>& merges, const std::string& where) {
  std::string both;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    both.assign(left).append(right);
    const Merge merge{vocabulary_.find(left), vocabulary_.find(right), vocabulary_.find(both),
                      static_cast<std::uint32_t>(rank)};
    if (merge.left == kNone || merge.right == kNone || merge.merged == kNone) {
      throw Error(ErrorKind::corrupt_file, where + ": model.merges[" + std::to_string(rank) +
                                               "]: " + printable(left) + " + " + printable(right) +
                                               ": a part or the result is not in model.vocab");
    }
    merges_[slot_of(merge.left, merge.right)] = merge;
  }
}

// The slot that holds the merge of two tokens, or the free one where it belongs.
std::size_t Bpe::slot_of(std::int32_t left, std::int32_t right) const {
  const std::size_t mask = merges_.size() - 1;
  std::size_t i =
      secret_hash(static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right)) &
      mask;
  while (merges_[i].left != kNone && (merges_[i].left != left || merges_[i].right != right)) {
    i = (i + 1) & mask;
  }
  return i;
}

const Bpe::Merge* Bpe::find_merge(std::int32_t left, std::int32_t right) const {
  const Merge& merge = merges_[slot_of(left, right)];
  return merge.left == kNone ? nullptr : &merge;
}

void Bpe::encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
  if (piece.empty()) return;
  if (ignore_merges_) {
    if (const std::int32_t whole = vocabulary_.find(spell_bytes(piece)); whole != kNone) {
      ids.push_back(whole);
      return;
    }
  }
  Symbols symbols(*this, piece);
  symbols.merge_all();
  for (std::int32_t i = 0; i != kNone; i = symbols.symbols[i].next) {
    ids.push_back(symbols.symbols[i].id);
  }
}

}  // namespace ernie_image
