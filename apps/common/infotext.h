// The text that the A1111 web UI writes beside its pictures, read back: prompt, negative prompt and
// a line of settings.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ernie_image {

struct Infotext {
  std::string prompt;
  std::string negative_prompt;
  std::vector<std::pair<std::string, std::string>> settings;  ///< "Steps": "8", in their order
};

/// Any text gives something: what is no line of settings is prompt. That a prompt has a line which
/// begins with "Negative prompt:" itself is not told apart, as in the web UI.
Infotext parse_infotext(std::string_view text);

}  // namespace ernie_image
