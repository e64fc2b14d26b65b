// Splitting text into the pieces that byte-pair encoding works on.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

/// The reference's Split pre-tokenizer with behavior "Isolated": matches of a regular expression
/// are pieces, and so is the text between them.
class PreTokenizer {
 public:
  /// The reference matches with Oniguruma, we with PCRE2: a regex that the two read differently is
  /// Error(unsupported), beginning with `where`, and so is an invalid one.
  PreTokenizer(const std::string& regex, const std::string& where);

  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  /// `text`: valid UTF-8. The pieces view into it, none is empty, together they are the text.
  /// Throws Error(unsupported) for a regex that backtracks without end on this text.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  struct Regex;
  std::unique_ptr<const Regex> regex_;
};

/// `regex` (Oniguruma) rewritten for PCRE2 with the same meaning, for the part of the language that
/// tokenizers use. Throws std::invalid_argument naming what is not covered.
std::string pcre2_of_oniguruma(std::string_view regex);

}  // namespace ernie_image
