#include "tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <new>
#include <stdexcept>
#include <utility>

#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxRegexBytes = 16 * 1024;

// Backtracking allowed for one match: what a sane regex could need on a piece as long as the text.
std::uint32_t match_limit(std::size_t text_bytes) {
  constexpr std::size_t kMaxLimit = 1u << 31;
  return static_cast<std::uint32_t>(std::min(100'000 + 64 * text_bytes, kMaxLimit));
}

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

template <auto free_function>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    free_function(object);
  }
};
using Code = std::unique_ptr<pcre2_code, Free<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>>;

template <typename Pointer>
Pointer allocated(Pointer pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

Code compile(const std::string& regex, const std::string& where) {
  // Oniguruma's ^ and $ match at every line.
  constexpr std::uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  if (regex.size() > kMaxRegexBytes) {
    throw Error(ErrorKind::unsupported, where + ": regex of " + std::to_string(regex.size()) +
                                            " bytes, at most " + std::to_string(kMaxRegexBytes));
  }
  std::string translated;
  try {
    translated = pcre2_of_oniguruma(regex);
  } catch (const std::invalid_argument& error) {
    throw Error(ErrorKind::unsupported,
                where + ": regex " + printable(regex) + ": " + error.what());
  }
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                          kOptions, &error, &offset, nullptr));
  if (code == nullptr) {
    throw Error(ErrorKind::unsupported, where + ": regex " + printable(translated) + ": " +
                                            pcre2_message(error) + " at byte " +
                                            std::to_string(offset));
  }
  // Without a JIT (a kernel that forbids it) PCRE2 interprets, with the same results.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return code;
}

struct Range {
  std::size_t begin;
  std::size_t end;
};

}  // namespace

struct PreTokenizer::Regex {
  Code code;
  std::string where;
};

namespace {

// One text being searched.
class Search {
 public:
  Search(const pcre2_code* code, std::string_view text, const std::string& where)
      : code_(code),
        text_(text),
        where_(where),
        data_(allocated(pcre2_match_data_create(1, nullptr))),
        context_(allocated(pcre2_match_context_create(nullptr))) {
    pcre2_set_match_limit(context_.get(), match_limit(text.size()));
  }

  // The first match at or after `begin`; false if there is none.
  bool find(std::size_t begin, Range& match) {
    int result = run(begin, 0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(begin, PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) return false;
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data_.get());
    if (result < 0 || offsets[0] < begin || offsets[1] < offsets[0]) {
      throw Error(ErrorKind::unsupported,
                  where_ + ": the pre-tokenizer's regex fails on this text: " +
                      (result < 0 ? pcre2_message(result) : "match outside of the text searched"));
    }
    match = {offsets[0], offsets[1]};
    return true;
  }

 private:
  int run(std::size_t begin, std::uint32_t options) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), begin,
                       PCRE2_NO_UTF_CHECK | options, data_.get(), context_.get());
  }

  const pcre2_code* code_;
  std::string_view text_;
  const std::string& where_;
  MatchData data_;
  MatchContext context_;
};

// Where the character after the one at `position` begins.
std::size_t next_character(std::string_view text, std::size_t position) {
  do {
    ++position;
  } while (position < text.size() && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  return position;
}

}  // namespace

PreTokenizer::PreTokenizer(const std::string& regex, const std::string& where)
    : regex_(new Regex{compile(regex, where), where}) {}

PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

std::vector<std::string_view> PreTokenizer::split(std::string_view text) const {
  std::vector<std::string_view> pieces;
  std::size_t piece_begin = 0;
  const auto cut = [&](std::size_t end) {
    if (end > piece_begin) pieces.push_back(text.substr(piece_begin, end - piece_begin));
    piece_begin = end;
  };
  Search search(regex_->code.get(), text, regex_->where);
  Range match{};
  for (std::size_t begin = 0; begin < text.size() && search.find(begin, match);) {
    cut(match.begin);
    cut(match.end);
    begin = match.end > match.begin ? match.end : next_character(text, match.end);
  }
  cut(text.size());
  return pieces;
}

}  // namespace ernie_image
