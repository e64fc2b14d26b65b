// Temporary folders, and files made to order.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "ernie_image/error.h"

namespace ernie_image::test {

/// A fixture with a folder of its own, removed afterwards.
class TemporaryFolder : public ::testing::Test {
 protected:
  TemporaryFolder();
  ~TemporaryFolder() override;

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  /// Writes a file, with the folders it needs, and returns its path.
  std::string write(const std::string& name, std::string_view content) const;

  std::string folder_;
};

/// Sets an environment variable (nullptr: removes it) until the end of the scope.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value);
  ~ScopedVariable();
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  std::string name_;
  std::string before_;
  bool was_set_;
};

std::string read_whole(const std::string& path);

/// A safetensors file with that header text and `data_bytes` bytes 0, 1, 2...
std::string safetensors(std::string_view header, std::size_t data_bytes);

/// {"a":{...},"b":{...}} of such entries.
std::string header_of(const std::vector<std::string>& entries);

/// "a":{...} for one tensor.
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets);

/// "[begin,end]"
std::string offsets(std::size_t begin, std::size_t end);

/// Runs `action` and expects an Error of that kind whose message holds each of the `parts`.
void expect_error(ErrorKind kind, const std::vector<std::string>& parts,
                  const std::function<void()>& action);

}  // namespace ernie_image::test
