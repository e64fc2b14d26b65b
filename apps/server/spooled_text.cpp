#include "server/spooled_text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>

#include <fcntl.h>
#include <unistd.h>

namespace ernie_image {
namespace {

constexpr std::size_t kPieceBytes = 64 << 10;

FileDescriptor nameless_file() {
  const char* const chosen = std::getenv("TMPDIR");
  for (const char* const folder : {chosen, "/var/tmp", "/tmp"}) {
    if (folder == nullptr || *folder == '\0') continue;
    FileDescriptor file(::open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (file.valid()) return file;
    // Not every file system has these.
    std::string name = std::string(folder) + "/ernie-image-" + std::string(6, 'X');  // mkostemp's
    FileDescriptor named(::mkostemp(name.data(), O_CLOEXEC));
    if (!named.valid()) continue;
    ::unlink(name.c_str());
    return named;
  }
  return FileDescriptor(-1);
}

bool write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

std::optional<SpooledText> SpooledText::of(std::string_view text) {
  FileDescriptor file = nameless_file();
  if (!file.valid() || !write_all(file.get(), text)) return std::nullopt;
  return SpooledText(std::move(file), text.size());
}

std::size_t SpooledText::write_piece(std::size_t offset, httplib::DataSink& sink) const {
  std::array<char, kPieceBytes> piece;
  const std::size_t wanted = std::min(piece.size(), size_ - offset);
  const ssize_t size = ::pread(file_.get(), piece.data(), wanted, static_cast<off_t>(offset));
  const bool is_written = size > 0 && sink.write(piece.data(), static_cast<std::size_t>(size));
  return is_written ? static_cast<std::size_t>(size) : 0;
}

void spool(httplib::Response& response) {
  if (response.body.size() < kSpooledBytes) return;
  std::optional<SpooledText> text = SpooledText::of(response.body);
  if (!text) return;
  const auto shared = std::make_shared<SpooledText>(*std::move(text));
  const std::string type = response.get_header_value("Content-Type");
  std::string().swap(response.body);       // assigning an empty one would keep the memory
  response.headers.erase("Content-Type");  // which is set again
  response.set_content_provider(
      shared->size(), type,
      [shared](std::size_t offset, std::size_t /*length*/, httplib::DataSink& sink) {
        return shared->write_piece(offset, sink) > 0;
      });
}

}  // namespace ernie_image
