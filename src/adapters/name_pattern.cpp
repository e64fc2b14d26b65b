#include "adapters/name_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>

#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxPatternBytes = 4096;
constexpr std::uint32_t kMatchLimit = 100'000;  // steps of backtracking

template <auto free_function>
struct Release {
  template <typename T>
  void operator()(T* object) const {
    free_function(object);
  }
};

}  // namespace

struct NamePattern::Regex {
  std::unique_ptr<pcre2_code, Release<pcre2_code_free>> code;
  std::string pattern;
  std::string where;
};

NamePattern::NamePattern(const std::string& pattern, const std::string& where) {
  if (pattern.size() > kMaxPatternBytes) {
    throw Error(ErrorKind::unsupported, where + ": a pattern of " + std::to_string(pattern.size()) +
                                            " bytes, at most " + std::to_string(kMaxPatternBytes));
  }
  const std::string regex = "(.*\\.)?(" + pattern + ")$";
  constexpr std::uint32_t kOptions = PCRE2_ANCHORED | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C;
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto compiled = std::make_unique<Regex>();
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(regex.data()), regex.size(),
                                     kOptions, &error, &offset, nullptr));
  if (compiled->code == nullptr) {
    throw Error(ErrorKind::unsupported,
                where + ": " + printable(pattern) + " is no regular expression");
  }
  compiled->pattern = pattern;
  compiled->where = where;
  regex_ = std::move(compiled);
}

NamePattern::NamePattern(NamePattern&&) noexcept = default;
NamePattern& NamePattern::operator=(NamePattern&&) noexcept = default;
NamePattern::~NamePattern() = default;

bool NamePattern::matches(std::string_view module) const {
  const std::unique_ptr<pcre2_match_context, Release<pcre2_match_context_free>> context(
      pcre2_match_context_create(nullptr));
  const std::unique_ptr<pcre2_match_data, Release<pcre2_match_data_free>> data(
      pcre2_match_data_create(1, nullptr));
  if (context == nullptr || data == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_depth_limit(context.get(), kMatchLimit);
  const int result = pcre2_match(regex_->code.get(), reinterpret_cast<PCRE2_SPTR>(module.data()),
                                 module.size(), 0, 0, data.get(), context.get());
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result >= 0) return true;
  throw Error(ErrorKind::unsupported, regex_->where + ": the pattern " +
                                          printable(regex_->pattern) + " cannot be matched with " +
                                          printable(module));
}

}  // namespace ernie_image
