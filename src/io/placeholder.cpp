#include "io/placeholder.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

/// The "size 123" line of a pointer file, as " (123 bytes)"; "" if there is none.
std::string size_in_pointer(std::string_view text) {
  const std::size_t at = text.substr(0, 1024).find("\nsize ");
  if (at == std::string_view::npos) return "";
  std::uint64_t size = 0;
  const char* begin = text.data() + at + 6;
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), size);
  return error == std::errc() ? " (" + std::to_string(size) + " bytes)" : "";
}

bool is_web_page(std::string_view text) {
  std::string start(text.substr(0, 256));
  start.erase(0, std::min(start.find_first_not_of(" \t\r\n\xEF\xBB\xBF"), start.size()));
  std::transform(start.begin(), start.end(), start.begin(),
                 [](unsigned char c) { return static_cast<char>(c < 128 ? std::tolower(c) : c); });
  return start.starts_with("<!doctype") || start.starts_with("<html") ||
         start.starts_with("<?xml") || start.starts_with("<head");
}

}  // namespace

void reject_placeholder(const FileView& file) {
  if (file.bytes.empty()) {
    throw Error(ErrorKind::corrupt_file, file.path + ": the file is empty; download it again");
  }
  if (file.text().starts_with("version https://git-lfs")) {
    throw Error(ErrorKind::corrupt_file,
                file.path + ": this is a git-lfs pointer, not the file itself" +
                    size_in_pointer(file.text()) +
                    "; run \"git lfs install && git lfs pull\" in the repository, or download the "
                    "model with hf download");
  }
  if (is_web_page(file.text())) {
    throw Error(ErrorKind::corrupt_file,
                file.path +
                    ": this is a web page (HTML or XML), not the file itself: the download got an "
                    "error or login page; delete it and download again");
  }
}

}  // namespace ernie_image
