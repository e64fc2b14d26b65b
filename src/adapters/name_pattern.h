// The patterns that PEFT's configurations name modules with: rank_pattern, alpha_pattern.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace ernie_image {

/// PEFT matches the regular expression (.*\.)?(<pattern>)$ from the beginning of a module's name:
/// the pattern stands for whole dotted parts at its end.
class NamePattern {
 public:
  /// Throws Error(unsupported), beginning with `where`, for what is no regular expression.
  NamePattern(const std::string& pattern, const std::string& where);
  NamePattern(NamePattern&&) noexcept;
  NamePattern& operator=(NamePattern&&) noexcept;
  ~NamePattern();

  /// Throws Error(unsupported) for a pattern that backtracks without end on this name.
  bool matches(std::string_view module) const;

 private:
  struct Regex;
  std::unique_ptr<const Regex> regex_;
};

}  // namespace ernie_image
