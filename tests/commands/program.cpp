#include "program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "io/image_file.h"

namespace ernie_image::cli_test {
namespace {

namespace fs = std::filesystem;

std::string temporary_folder() {
  std::string path = (fs::temp_directory_path() / "ernie-image-test-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  return path;
}

/// What the program inherits, without any variable that names a model or a cache.
std::vector<std::string> clean_environment(const fs::path& home) {
  std::vector<std::string> result = {"HOME=" + home.string(), "LC_ALL=C.UTF-8"};
  for (const char* name : {"PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH"}) {
    if (const char* value = std::getenv(name)) result.push_back(std::string(name) + "=" + value);
  }
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

void redirect(int target, const fs::path& path, int flags) {
  const int fd = open(path.c_str(), flags, 0600);
  if (fd < 0 || dup2(fd, target) < 0) _exit(126);
  close(fd);
}

void redirect_stdout(Stdout kind, const fs::path& path) {
  if (kind == Stdout::captured) {
    redirect(STDOUT_FILENO, path, O_WRONLY | O_CREAT);
  } else if (kind == Stdout::closed) {
    close(STDOUT_FILENO);
  } else {
    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[1], STDOUT_FILENO) < 0) _exit(126);
    close(ends[0]);
    close(ends[1]);
  }
}

}  // namespace

RunningProgram::RunningProgram(const std::vector<std::string>& arguments, const RunOptions& options)
    : output_folder_(temporary_folder()) {
  write_bytes(output_folder_ / "in", options.input);
  std::vector<std::string> command = {ERNIE_IMAGE_PROGRAM};
  command.insert(command.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = clean_environment(output_folder_);
  for (const std::string& variable : options.environment) {
    const std::string name = variable.substr(0, variable.find('=') + 1);
    std::erase_if(environment, [&](const std::string& other) { return other.starts_with(name); });
    environment.push_back(variable);
  }
  const std::vector<char*> argv = pointers(command);
  const std::vector<char*> envp = pointers(environment);
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ > 0) return;
  redirect(STDIN_FILENO, output_folder_ / "in", O_RDONLY);
  redirect(STDERR_FILENO, output_folder_ / "err", O_WRONLY | O_CREAT);
  redirect_stdout(options.standard_output, output_folder_ / "out");
  if (!options.folder.empty() && chdir(options.folder.c_str()) != 0) _exit(126);
  execve(argv[0], argv.data(), envp.data());
  _exit(127);
}

RunningProgram::~RunningProgram() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  fs::remove_all(output_folder_);
}

Outcome RunningProgram::wait() {
  int status = 0;
  if (waitpid(pid_, &status, 0) != pid_) throw std::runtime_error("waitpid failed");
  pid_ = -1;
  return {WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
          read_bytes(output_folder_ / "out"), read_bytes(output_folder_ / "err")};
}

nlohmann::json record_of(const std::string& picture) {
  return nlohmann::json::parse(read_image(picture).metadata.at("ernie_image"));
}

Outcome run_program(const std::vector<std::string>& arguments, const RunOptions& options) {
  return RunningProgram(arguments, options).wait();
}

TemporaryFolder::TemporaryFolder() : path_(temporary_folder()) {}

TemporaryFolder::~TemporaryFolder() { fs::remove_all(path_); }

std::vector<std::string> TemporaryFolder::names() const {
  std::vector<std::string> result;
  for (const auto& entry : fs::directory_iterator(path_)) {
    result.push_back(entry.path().filename().string());
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::vector<std::string> quick_run(const std::string& output,
                                   const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {
      "generate", "--no-enhance", "--prompt", "a red apple", "--steps", "1", "--output", output};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace ernie_image::cli_test
