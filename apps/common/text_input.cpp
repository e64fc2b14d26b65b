#include "common/text_input.h"

#include <iostream>
#include <iterator>

#include "io/file_view.h"

namespace ernie_image {

std::string read_text(const std::string& path) {
  if (path != "-") return std::string(open_file(path).text());
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

}  // namespace ernie_image
