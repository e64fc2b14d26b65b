// What the program says about a library for NVIDIA GPUs that is absent, foreign or of another
// build. The library is looked for once in a process, so each case is a process of its own, forked
// before any other test has looked: gtest runs suites of this name first.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "backend/cuda/loader.h"
#include "backend/registry.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

/// What make_backend says with this library, from a process of its own.
std::string complaint(const std::string& library) {
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    setenv("ERNIE_IMAGE_CUDA_LIBRARY", library.c_str(), 1);
    std::string text = "no complaint";
    try {
      BackendOptions options;
      options.device = "cuda";
      make_backend(options);
    } catch (const Error& error) {
      text = std::string(error.kind() == ErrorKind::not_found ? "not found: " : "other: ") +
             error.what();
    }
    const bool written = write(pipe_ends[1], text.data(), text.size()) == std::ssize(text);
    _exit(written ? 0 : 1);
  }
  close(pipe_ends[1]);
  std::string text;
  char part[256];
  for (ssize_t count; (count = read(pipe_ends[0], part, sizeof(part))) > 0;)
    text.append(part, static_cast<std::size_t>(count));
  close(pipe_ends[0]);
  waitpid(child, nullptr, 0);
  return text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(LoaderOfCudaDeathTest, SaysWhereTheLibraryWasLookedFor) {
  const std::string text = complaint("/nowhere/libernie_image_cuda.so");
  EXPECT_TRUE(contains(text, "not found: cuda: no libernie_image_cuda.so")) << text;
  EXPECT_TRUE(contains(text, "/nowhere/libernie_image_cuda.so")) << text;
  EXPECT_TRUE(contains(text, "cmake --preset cuda")) << text;
}

TEST(LoaderOfCudaDeathTest, SaysWhyAFileIsNoLibrary) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("cuda_loader_test_" + std::to_string(getpid()) + ".so");
  std::ofstream(path) << "not a library";
  const std::string text = complaint(path.string());
  std::filesystem::remove(path);
  EXPECT_TRUE(contains(text, "not found: cuda: cannot open " + path.string())) << text;
}

TEST(LoaderOfCudaDeathTest, RefusesALibraryThatIsAnotherOne) {
  if (std::getenv("ERNIE_IMAGE_EMULATED") != nullptr)
    GTEST_SKIP() << "the emulator names libraries by paths that are not there";
  Dl_info module{};
  ASSERT_NE(dladdr(dlsym(RTLD_DEFAULT, "gnu_get_libc_version"), &module), 0);
  const std::string text = complaint(module.dli_fname);
  EXPECT_TRUE(contains(text, "has no symbol ernie_image_cuda_plugin")) << text;
}

TEST(LoaderOfCudaDeathTest, RefusesALibraryOfAnotherBuild) {
#ifdef ERNIE_IMAGE_CUDA_FOREIGN
  const std::string text = complaint(ERNIE_IMAGE_CUDA_FOREIGN);
  EXPECT_TRUE(contains(text, "belongs to another build of ernie-image (another build")) << text;
#else
  GTEST_SKIP() << "needs a library that is not built here";
#endif
}

TEST(LoaderOfCudaDeathTest, KnowsDeviceNames) {
  for (const char* name : {"cpu", "cuda", "cuda:0", "cuda:15"})
    EXPECT_EQ(split_device_list(name), std::vector<std::string>{name});
  for (const char* name : {"", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda0", "gpu"})
    EXPECT_THROW(split_device_list(name), Error) << name;
}

TEST(LoaderOfCudaDeathTest, LooksBesideTheProgramAndInItsLibraryFolder) {
  unsetenv("ERNIE_IMAGE_CUDA_LIBRARY");
  const auto paths = cuda_library_paths();
  ASSERT_GE(paths.size(), 2u);
  const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  EXPECT_EQ(paths[0], (program / "libernie_image_cuda.so").string());
  EXPECT_TRUE(contains(paths[1], "/../lib")) << paths[1];
}

}  // namespace
}  // namespace ernie_image
