// The input is a file of prompts, one a line: no prompt is empty, longer than the file or more than
// its lines.
#include "common/parse_values.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "ernie_image/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ernie_image;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    require_utf8("the file of prompts", text);
    const std::vector<std::string> prompts = split_prompt_lines(text);
    if (std::ssize(prompts) > std::count(text.begin(), text.end(), '\n') + 1) std::abort();
    for (const std::string& prompt : prompts) {
      if (prompt.empty() || text.find(prompt) == std::string_view::npos) std::abort();
    }
  } catch (const Error&) {
  }
  return 0;
}
