#include "backend/cuda/loader.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr const char* kLibraryName = "libernie_image_cuda.so";
constexpr const char* kPathVariable = "ERNIE_IMAGE_CUDA_LIBRARY";

struct Loaded {
  const CudaPlugin* plugin = nullptr;  ///< never closed: its backends' code would go
  std::string path;
  std::string problem;
};

/// The folder of the program or shared library that this function is in.
std::string own_folder() {
  Dl_info module{};
  if (dladdr(reinterpret_cast<const void*>(&own_folder), &module) == 0) return ".";
  char* const resolved = realpath(module.dli_fname, nullptr);
  // A program found through PATH may be known by its bare name only.
  char* const path = resolved != nullptr ? resolved : realpath("/proc/self/exe", nullptr);
  if (path == nullptr) return ".";
  const std::string file = path;
  std::free(path);
  return file.substr(0, file.rfind('/'));
}

std::string joined(const std::vector<std::string>& paths) {
  std::string text;
  for (const std::string& path : paths) text += (text.empty() ? "" : ", ") + path;
  return text;
}

Loaded opened(const std::string& path) {
  Loaded loaded{nullptr, path, {}};
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    loaded.problem = "cannot open " + path + ": " + (reason == nullptr ? "no reason" : reason);
    return loaded;
  }
  const auto function = reinterpret_cast<CudaPluginFunction*>(dlsym(library, kCudaPluginSymbol));
  if (function == nullptr) {
    loaded.problem = path + " has no symbol " + kCudaPluginSymbol + ": it is another library";
    return loaded;
  }
  const CudaPlugin* const plugin = function();
  if (std::strcmp(plugin->abi, ERNIE_IMAGE_CUDA_ABI) != 0) {
    loaded.problem = path + " belongs to another build of ernie-image (" + plugin->abi +
                     ", expected " + ERNIE_IMAGE_CUDA_ABI +
                     "); build both from the same sources, with the same compiler";
    return loaded;
  }
  loaded.plugin = plugin;
  return loaded;
}

Loaded load() {
  const std::vector<std::string> paths = cuda_library_paths();
  for (const std::string& path : paths) {
    if (access(path.c_str(), F_OK) == 0) return opened(path);
  }
  return {nullptr,
          {},
          std::string("no ") + kLibraryName + ", looked for " + joined(paths) +
              "; build it with `cmake --preset cuda`, or say where it is with $" + kPathVariable};
}

/// Once in a process.
const Loaded& cuda_library() {
  static const Loaded loaded = load();
  return loaded;
}

}  // namespace

std::vector<std::string> cuda_library_paths() {
  const char* const given = std::getenv(kPathVariable);
  if (given != nullptr && *given != '\0') return {given};
  const std::string folder = own_folder();
  std::vector<std::string> paths;
  for (const std::string place : {"", "/../" ERNIE_IMAGE_LIBRARY_FOLDER, "/../lib"}) {
    const std::string path = folder + place + "/" + kLibraryName;
    if (paths.empty() || paths.back() != path) paths.push_back(path);
  }
  return paths;
}

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  const Loaded& library = cuda_library();
  if (library.plugin == nullptr) throw Error(ErrorKind::not_found, "cuda: " + library.problem);
  return library.plugin->make_backend(options);
}

std::vector<std::unique_ptr<Collective>> connect_cuda_cards(std::span<Backend* const> cards) {
  return cuda_library().plugin->connect(cards);  // which has made them
}

DeviceInfo cuda_info() {
  const Loaded& library = cuda_library();
  if (library.plugin == nullptr) {
    DeviceInfo info;
    info.problem = library.problem;
    info.path = library.path;
    return info;
  }
  DeviceInfo info = library.plugin->info();
  info.path = library.path;
  return info;
}

}  // namespace ernie_image
