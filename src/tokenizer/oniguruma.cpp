// Oniguruma's regex language (with Unicode 16), rewritten for PCRE2.
#include <sstream>
#include <stdexcept>

#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/recent_characters.h"

namespace ernie_image {
namespace {

// Unicode's White_Space. PCRE2's \s has U+180E on top, which is no white space since Unicode 6.3.
constexpr std::string_view kWhiteSpace = R"(\t-\r\x{85}\p{Z})";

class Rewriter {
 public:
  explicit Rewriter(std::string_view regex) : rest_(regex) {}

  std::string run() {
    while (!rest_.empty()) {
      if (rest_[0] == '\\') {
        escape();
      } else if (in_class_) {
        class_character();
      } else {
        character();
      }
    }
    return out_;
  }

 private:
  [[noreturn]] void refuse(std::size_t length) const {
    throw std::invalid_argument(std::string(rest_.substr(0, length)) + " is not supported");
  }

  void copy(std::size_t length) {
    out_ += rest_.substr(0, length);
    rest_.remove_prefix(length);
  }

  void escape() {
    constexpr std::string_view kSame = "rntfx";  // \w \h \b \v … differ or match no character
    if (rest_.size() < 2) refuse(1);
    const char kind = rest_[1];
    switch (kind) {
      case 's':
      case 'S':
        return set(2, kind == 'S', std::string(kWhiteSpace));
      case 'd':
      case 'D':
        return set(2, kind == 'D', category_set("Nd"));
      case 'p':
      case 'P':
        return category(kind == 'P');
      default:
        if (kSame.find(kind) == std::string_view::npos && !is_punctuation(kind)) refuse(2);
        copy(2);
    }
  }

  // Replaces `length` characters by a set, or by what is not in it.
  void set(std::size_t length, bool negated, const std::string& members) {
    if (in_class_ && negated) refuse(length);
    if (!in_class_) out_ += negated ? "[^" : "[";
    out_ += members;
    if (!in_class_) out_ += "]";
    rest_.remove_prefix(length);
  }

  // \p{Lu}
  void category(bool negated) {
    const std::size_t close = rest_.find('}');
    if (!rest_.substr(2).starts_with("{") || close == std::string_view::npos) refuse(3);
    const std::string_view name = rest_.substr(3, close - 3);
    if (name.starts_with("^")) refuse(close + 1);
    set(close + 1, negated, category_set(name));
  }

  static std::string category_set(std::string_view name) {
    std::ostringstream members;
    members << "\\p{" << name << "}" << std::hex;
    for (const CharacterRange& range : kRecentCharacters) {
      if (!range.category.starts_with(name)) continue;
      members << "\\x{" << range.first << "}-\\x{" << range.last << "}";
    }
    return members.str();
  }

  static bool is_punctuation(char c) {
    return c > ' ' && c < 0x7F && !(c >= '0' && c <= '9') &&
           !((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
  }

  void class_character() {
    // Oniguruma nests sets and intersects them, PCRE2 takes both literally.
    if (rest_[0] == '[' || rest_.starts_with("&&")) refuse(2);
    in_class_ = rest_[0] != ']';
    copy(1);
  }

  void character() {
    if (rest_[0] == '[') {
      in_class_ = true;
      copy(rest_.starts_with("[^") ? 2 : 1);
      if (rest_.starts_with("]")) refuse(1);
    } else if (rest_.starts_with("(?")) {
      group();
    } else if (rest_.starts_with("(*") || rest_.starts_with("{,") || rest_.starts_with("}+")) {
      refuse(2);  // verbs; {0,n} in one language, text in the other; repeated or possessive
    } else {
      copy(1);
    }
  }

  void group() {
    for (const std::string_view kind : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"}) {
      if (rest_.starts_with(kind)) return copy(kind.size());
    }
    refuse(4);
  }

  std::string_view rest_;
  std::string out_;
  bool in_class_ = false;
};

}  // namespace

std::string pcre2_of_oniguruma(std::string_view regex) { return Rewriter(regex).run(); }

}  // namespace ernie_image
