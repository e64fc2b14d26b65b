// Text that waits for a slow client in a file rather than in memory.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <httplib.h>

#include "io/file_descriptor.h"

namespace ernie_image {

/// From which size on it is worth it: a client that reads nothing costs no more than this.
inline constexpr std::size_t kSpooledBytes = 512 << 10;

/// In a file without a name, in $TMPDIR or else /var/tmp, which is rarely memory as /tmp may be.
class SpooledText {
 public:
  /// Nothing if the file cannot be written: the text has to stay where it is.
  static std::optional<SpooledText> of(std::string_view text);

  std::size_t size() const { return size_; }
  /// Hands out a piece, of 64 KiB at most, from `offset` on, and gives its size; 0: the client is
  /// gone, or the file cannot be read.
  std::size_t write_piece(std::size_t offset, httplib::DataSink& sink) const;

 private:
  SpooledText(FileDescriptor file, std::size_t size) : file_(std::move(file)), size_(size) {}

  FileDescriptor file_;
  std::size_t size_;
};

/// The response's body, if it is large, given out from a file.
void spool(httplib::Response& response);

}  // namespace ernie_image
