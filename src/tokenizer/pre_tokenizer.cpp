#include "tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <new>
#include <stdexcept>
#include <utility>

#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxRegexBytes = 16 * 1024;

// Backtracking allowed for one match: what a sane regex could need on a piece as long as the text.
constexpr std::size_t kMinMatchLimit = 100'000;
constexpr std::size_t kMatchLimitPerByte = 64;
constexpr std::size_t kMaxMatchLimit = 1u << 31;
constexpr std::uint32_t kHeapLimitKiB = 256 << 10;
// For the whole of a text. Each match may be within its limit and all of them together not: with a
// lookahead to the end of the text at each of its places.
constexpr std::chrono::seconds kTimeForText{1};  // of the processor; some 20 ms for a million bytes

std::chrono::nanoseconds thread_time() {
  timespec time = {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

std::uint32_t match_limit(std::size_t text_bytes) {
  return static_cast<std::uint32_t>(
      std::min(kMinMatchLimit + kMatchLimitPerByte * text_bytes, kMaxMatchLimit));
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
  // Oniguruma's ^ and $ match at every line. Anchored: PCRE2's limits hold for each place where a
  // match is tried, and a text has many; these are tried one by one, and the time is looked at.
  constexpr std::uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_ANCHORED;
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
  std::string text;
  std::string where;
};

namespace {

// Where the character after the one at `position` begins.
std::size_t next_character(std::string_view text, std::size_t position) {
  do {
    ++position;
  } while (position < text.size() && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  return position;
}

// One text being searched.
class Search {
 public:
  Search(const pcre2_code* code, std::string_view text, const std::string& regex,
         const std::string& where)
      : code_(code),
        text_(text),
        regex_(regex),
        where_(where),
        data_(allocated(pcre2_match_data_create(1, nullptr))),
        context_(allocated(pcre2_match_context_create(nullptr))) {
    pcre2_set_match_limit(context_.get(), match_limit(text.size()));
    pcre2_set_depth_limit(context_.get(), match_limit(text.size()));
    pcre2_set_heap_limit(context_.get(), kHeapLimitKiB);
  }

  // The first match at or after `begin`; false if there is none.
  bool find(std::size_t begin, Range& match) {
    while (begin < text_.size()) {
      // The clock on the wall costs less to look at, and runs no slower.
      if (Clock::now() - begun_ > kTimeForText && thread_time() - begun_time_ > kTimeForText) {
        fail("it takes longer than a second");
      }
      if (matches_at(begin, match)) return true;
      begin = next_character(text_, begin);
    }
    return false;
  }

 private:
  using Clock = std::chrono::steady_clock;

  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(ErrorKind::unsupported, where_ + ": the regex " + printable(regex_) +
                                            " fails on a text of " + std::to_string(text_.size()) +
                                            " bytes: " + reason);
  }

  bool matches_at(std::size_t begin, Range& match) {
    int result = run(begin, 0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(begin, PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) return false;
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data_.get());
    if (result < 0 || offsets[0] < begin || offsets[1] < offsets[0]) {
      fail(result < 0 ? pcre2_message(result) : "match outside of the text searched");
    }
    match = {offsets[0], offsets[1]};
    return true;
  }

  int run(std::size_t begin, std::uint32_t options) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), begin,
                       PCRE2_NO_UTF_CHECK | options, data_.get(), context_.get());
  }

  const pcre2_code* code_;
  std::string_view text_;
  const std::string& regex_;
  const std::string& where_;
  const Clock::time_point begun_ = Clock::now();
  const std::chrono::nanoseconds begun_time_ = thread_time();
  MatchData data_;
  MatchContext context_;
};

}  // namespace

PreTokenizer::PreTokenizer(const std::string& regex, const std::string& where)
    : regex_(new Regex{compile(regex, where), regex, where}) {}

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
  Search search(regex_->code.get(), text, regex_->text, regex_->where);
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
