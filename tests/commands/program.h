// Runs the built ernie-image program the way a shell does.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace ernie_image::cli_test {

enum class Stdout { captured, closed, broken_pipe };

struct RunOptions {
  std::string input = {};  ///< standard input
  std::vector<std::string> environment =
      {};  ///< "NAME=value", on top of a clean one without any model
  Stdout standard_output = Stdout::captured;
  std::string folder = {};  ///< working directory; empty: the tests' own
};

struct Outcome {
  int exit_code = -1;  ///< 128 + n if killed by signal n
  std::string out;
  std::string err;

  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

/// A started program; reaped when it goes.
class RunningProgram {
 public:
  RunningProgram(const std::vector<std::string>& arguments, const RunOptions& options = {});
  ~RunningProgram();
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  pid_t pid() const { return pid_; }
  Outcome wait();

 private:
  std::filesystem::path output_folder_;
  pid_t pid_ = -1;
};

/// The settings that a picture carries.
nlohmann::json record_of(const std::string& picture);

Outcome run_program(const std::vector<std::string>& arguments, const RunOptions& options = {});

/// A new empty folder, removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  /// The path of `name` in the folder.
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }
  std::vector<std::string> names() const;

 private:
  std::filesystem::path path_;
};

std::string read_bytes(const std::string& path);
void write_bytes(const std::string& path, const std::string& bytes);

/// Arguments of a short run: one step with the embedded model, the prompt as it is.
std::vector<std::string> quick_run(const std::string& output,
                                   const std::vector<std::string>& more = {});

}  // namespace ernie_image::cli_test
