#include "common/console.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "ernie_image/error.h"

namespace ernie_image {

void print(const std::string& text) {
  std::cout << text << std::flush;
  if (!std::cout) throw Error(ErrorKind::io, "cannot write to standard output");
}

void require_standard_output() {
  const int flags = ::fcntl(STDOUT_FILENO, F_GETFL);
  pollfd output{STDOUT_FILENO, POLLOUT, 0};
  const bool is_broken = ::poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
  // A closed one was replaced by one that can only be read (main).
  if (flags == -1 || (flags & O_ACCMODE) == O_RDONLY || is_broken)
    throw Error(ErrorKind::io, "cannot write to standard output");
}

void print_json(const nlohmann::json& json) {
  print(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::string visible(std::string name) {
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  std::replace_if(name.begin(), name.end(), is_control, '?');
  return name;
}

std::string visible_lines(std::string text) {
  const auto is_control = [](unsigned char c) {
    return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
  };
  std::replace_if(text.begin(), text.end(), is_control, '?');
  return text;
}

int terminal_columns() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string human_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof(text), seconds < 10 ? "%.3f s" : "%.1f s", seconds);
  return text;
}

}  // namespace ernie_image
