#include "common/text_input.h"

#include <iostream>
#include <iterator>

#include "common/exit_code.h"
#include "io/file_view.h"

namespace ernie_image {

std::string read_text(const std::string& flag, const std::string& path) {
  if (path != "-") return naming_flag(flag, [&] { return std::string(open_file(path).text()); });
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

std::string prompt_of_input() {
  std::string text = read_text("--prompt", "-");
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  if (text.empty()) usage_error("--prompt -: standard input is empty");
  return text;
}

}  // namespace ernie_image
