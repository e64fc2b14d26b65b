#include "test_files.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace ernie_image::test {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::temp_directory_path() / "ernie-image-test-XXXXXX").string();
  folder_ = ::mkdtemp(pattern.data());
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string TemporaryFolder::write(const std::string& name, std::string_view content) const {
  const std::string target = path(name);
  fs::create_directories(fs::path(target).parent_path());
  std::ofstream(target, std::ios::binary) << content;
  return target;
}

ScopedVariable::ScopedVariable(const char* name, const char* value) : name_(name) {
  const char* before = std::getenv(name);
  was_set_ = before != nullptr;
  if (was_set_) before_ = before;
  if (value == nullptr) {
    ::unsetenv(name);
  } else {
    ::setenv(name, value, 1);
  }
}

ScopedVariable::~ScopedVariable() {
  if (was_set_) {
    ::setenv(name_.c_str(), before_.c_str(), 1);
  } else {
    ::unsetenv(name_.c_str());
  }
}

std::string read_whole(const std::string& path) {
  std::ostringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

std::string safetensors(std::string_view header, std::size_t data_bytes) {
  std::string file;
  for (int shift = 0; shift < 64; shift += 8) file += static_cast<char>(header.size() >> shift);
  file += header;
  std::string numbers;  // 0 to 255; many megabytes of them are wanted, and not one by one
  for (int i = 0; i < 256; ++i) numbers += static_cast<char>(i);
  const std::size_t size = file.size() + data_bytes;
  file.reserve(size + numbers.size());
  while (file.size() < size) file += numbers;
  file.resize(size);
  return file;
}

std::string header_of(const std::vector<std::string>& entries) {
  std::string header = "{";
  for (const std::string& one : entries) header += (header.size() > 1 ? "," : "") + one;
  return header + "}";
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

std::string offsets(std::size_t begin, std::size_t end) {
  std::string text = "[";
  text += std::to_string(begin) + "," + std::to_string(end);
  return text + "]";
}

void expect_error(ErrorKind kind, const std::vector<std::string>& parts,
                  const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "no error, expected one about " << parts.at(0);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << "\"" << part << "\" is not in: " << error.what();
    }
  }
}

}  // namespace ernie_image::test
