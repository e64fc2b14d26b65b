#include "backend/ascend/symbols.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string_view>

namespace ernie_image::ascend {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

/// $ASCEND_HOME_PATH/lib64, which the toolkit's set_env.sh also puts into LD_LIBRARY_PATH.
std::filesystem::path library_folder() {
  const std::string home = environment("ASCEND_HOME_PATH");
  return home.empty() ? std::filesystem::path() : std::filesystem::path(home) / "lib64";
}

/// Folders in which the loader finds libraries by name, the toolkit's own last.
std::vector<std::filesystem::path> library_folders() {
  std::vector<std::filesystem::path> folders;
  for (const std::string& folder : split(environment("LD_LIBRARY_PATH"), ':'))
    folders.emplace_back(folder);
  if (!library_folder().empty()) folders.push_back(library_folder());
  return folders;
}

/// Names of libopapi_*.so: since CANN 8.5 the operations are spread over several.
std::set<std::string> split_operation_libraries() {
  std::set<std::string> names;
  for (const std::filesystem::path& folder : library_folders()) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("libopapi_") && name.ends_with(".so")) names.insert(name);
    }
  }
  return names;
}

/// The line `load_priority=a,b` of $ASCEND_OPP_PATH/vendors/config.ini: whose operators come first.
std::vector<std::string> vendors_by_priority(const std::filesystem::path& vendors) {
  constexpr std::string_view kKey = "load_priority=";
  std::ifstream file(vendors / "config.ini");
  for (std::string line; std::getline(file, line);) {
    std::erase_if(line, [](unsigned char c) { return std::isspace(c) != 0; });
    if (line.starts_with(kKey)) return split(line.substr(kKey.size()), ',');
  }
  return {};
}

/// Libraries of operators that users added, first come first served.
std::vector<std::filesystem::path> custom_operation_libraries() {
  std::vector<std::filesystem::path> folders;
  for (const std::string& folder : split(environment("ASCEND_CUSTOM_OPP_PATH"), ':'))
    folders.emplace_back(folder);
  if (const std::string opp = environment("ASCEND_OPP_PATH"); !opp.empty()) {
    const std::filesystem::path vendors = std::filesystem::path(opp) / "vendors";
    for (const std::string& vendor : vendors_by_priority(vendors))
      folders.push_back(vendors / vendor);
  }
  std::vector<std::filesystem::path> libraries;
  for (const std::filesystem::path& folder : folders) {
    libraries.push_back(folder / "op_api" / "lib" / "libcust_opapi.so");
  }
  return libraries;
}

/// As CANN's own loader asks: code that somebody else may change is not run.
bool is_owned_by_user_or_root(const std::filesystem::path& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && (status.st_uid == 0 || status.st_uid == geteuid());
}

/// Where `Loader::open` has been, for people.
std::string where_looked() {
  const auto value = [](const char* name) {
    const std::string text = environment(name);
    return text.empty() ? std::string("which is not set") : "which is " + text;
  };
  return "in the folders of LD_LIBRARY_PATH, " + value("LD_LIBRARY_PATH") +
         ", nor in $ASCEND_HOME_PATH/lib64, " + value("ASCEND_HOME_PATH");
}

class Loader {
 public:
  explicit Loader(Cann& cann) : cann_(cann) {
    for (const std::string& name : split(environment("ERNIE_IMAGE_ASCEND_WITHOUT"), ','))
      without_.insert(name);
  }

  /// By plain name, so that LD_LIBRARY_PATH decides as for every program of CANN; else from the
  /// toolkit's own folder.
  void* open(const std::string& name) {
    void* library = try_open(name);
    if (library == nullptr && name.find('/') == std::string::npos && !library_folder().empty())
      library = try_open(library_folder() / name);
    if (library != nullptr) cann_.libraries.push_back(name);
    return library;
  }

  void load() {
    // The runtime's own library is what the other, older one is going to be replaced by.
    void* runtime = open("libascendcl.so");
    if (runtime == nullptr) runtime = open("libacl_rt.so");
    if (runtime == nullptr) {
      cann_.problem = broken_.empty()
                          ? "no CANN: libascendcl.so was not found " + where_looked() +
                                "; install driver, CANN toolkit and the kernels package "
                                "of the chip, run `source <toolkit>/set_env.sh`, then "
                                "`ernie-image devices`"
                          : "CANN cannot be loaded" + broken_text();
      return;
    }
    open_operations();
    if (void* library = open("libnnopbase.so")) object_libraries_.push_back(library);
    object_libraries_.insert(object_libraries_.end(), operations_.begin(), operations_.end());
#define ERNIE_IMAGE_RESOLVE(result, name, parameters) resolve({runtime}, #name, cann_.name);
    ERNIE_IMAGE_ACL_RUNTIME(ERNIE_IMAGE_RESOLVE)
#undef ERNIE_IMAGE_RESOLVE
#define ERNIE_IMAGE_RESOLVE(result, name, parameters) \
  cann_.name = reinterpret_cast<decltype(cann_.name)>(dlsym(runtime, #name));
    ERNIE_IMAGE_ACL_RUNTIME_OPTIONAL(ERNIE_IMAGE_RESOLVE)
#undef ERNIE_IMAGE_RESOLVE
#define ERNIE_IMAGE_RESOLVE(result, name, parameters) resolve(object_libraries_, #name, cann_.name);
    ERNIE_IMAGE_ACLNN_OBJECTS(ERNIE_IMAGE_RESOLVE)
#undef ERNIE_IMAGE_RESOLVE
#define ERNIE_IMAGE_RESOLVE(name, parameters) resolve_operation(cann_.name);
    ERNIE_IMAGE_ACLNN_OPERATIONS(ERNIE_IMAGE_RESOLVE)
#undef ERNIE_IMAGE_RESOLVE
#define ERNIE_IMAGE_REQUIRE(name, parameters) \
  if (!cann_.name) missing_ += " aclnn" #name;
    ERNIE_IMAGE_ACLNN_REQUIRED(ERNIE_IMAGE_REQUIRE)
#undef ERNIE_IMAGE_REQUIRE
    if (!missing_.empty()) cann_.problem = "this CANN lacks" + missing_ + broken_text();
  }

 private:
  /// Remembers a library that is there and cannot be opened, which is most often for want of
  /// another, such as the driver's libascend_hal.so; the system's words name that.
  void* try_open(const std::string& path) {
    void* const library = dlopen(path.c_str(), RTLD_LAZY | RTLD_GLOBAL);
    if (library != nullptr) return library;
    const std::string reason = dlerror();
    const bool is_absent = reason.starts_with(path + ": cannot open shared object file: No such");
    if (!is_absent) broken_.emplace(path, reason);
    return nullptr;
  }

  std::string broken_text() const {
    std::string text;
    for (const auto& [path, reason] : broken_) text += "; " + path + " was found, but: " + reason;
    if (!text.empty()) {
      text +=
          "; put the folder of what is missing into LD_LIBRARY_PATH (the driver's libraries are "
          "in driver/lib64 and its subfolders beside the toolkit)";
    }
    return text;
  }

  /// The order of torch_npu: users' own operators, the split libraries, the one library of older
  /// releases, and the feature libraries of still older ones.
  void open_operations() {
    for (const std::filesystem::path& path : custom_operation_libraries()) {
      if (is_owned_by_user_or_root(path)) add_operations(path);
    }
    for (const std::string& name : split_operation_libraries()) add_operations(name);
    for (const char* name :
         {"libopapi.so", "libaclnn_math.so", "libaclnn_fft.so", "libaclnn_sparse.so",
          "libaclnn_ops_infer.so", "libaclnn_ops_train.so", "libaclnn_rand.so"}) {
      add_operations(name);
    }
  }

  void add_operations(const std::string& name) {
    if (void* library = open(name)) operations_.push_back(library);
  }

  /// From the first library that has it, itself or among those that it needs.
  template <typename Function>
  void resolve(const std::vector<void*>& libraries, const char* name, Function*& target) {
    for (void* library : libraries) {
      target = reinterpret_cast<Function*>(dlsym(library, name));
      if (target != nullptr) return;
    }
    missing_ += std::string(" ") + name;
  }

  template <typename... Parameters>
  void resolve_operation(Operation<Parameters...>& operation) {
    if (without_.contains(operation.name)) return;
    const std::string plan = std::string(operation.name) + "GetWorkspaceSize";
    for (void* library : operations_) {
      operation.plan = reinterpret_cast<decltype(operation.plan)>(dlsym(library, plan.c_str()));
      operation.launch =
          reinterpret_cast<decltype(operation.launch)>(dlsym(library, operation.name));
      if (operation) return;
    }
  }

  Cann& cann_;
  std::vector<void*> operations_;
  std::vector<void*> object_libraries_;
  std::map<std::string, std::string>
      broken_;                     // found, but not loadable: path -> the system's words
  std::set<std::string> without_;  // pretended to be absent, to get round one that misbehaves
  std::string missing_;
};

std::string alternative_of(const std::string& name) {
  if (name == "aclnnFusedInferAttentionScoreV2")
    return "FlashAttentionScore, else attention composed of BatchMatMul and Softmax";
  if (name == "aclnnFusedInferAttentionScoreV3")
    return "V2, else FlashAttentionScore, else attention composed of BatchMatMul and Softmax";
  if (name == "aclnnFlashAttentionScore") return "attention composed of BatchMatMul and Softmax";
  if (name == "aclnnGroupNormSiluV2") return "GroupNorm in fp32";
  if (name == "aclnnUpsampleNearest2d") return "a broadcast copy";
  if (name == "aclnnDynamicQuant") return "nothing: --quant int8 is refused";
  if (name == "aclnnQuantMatmulWeightNz") return "--ascend-int8 nd, the default";
  if (name.starts_with("aclnnQuantMatmul"))
    return "another QuantMatmul of V5, V4 and V3; without all of them --quant int8 is refused";
  return "";
}

}  // namespace

const Cann& cann() {
  static const Cann* const kLoaded = [] {
    auto* loaded = new Cann;  // never destroyed: other threads may still be in it at exit
    Loader(*loaded).load();
    return loaded;
  }();
  return *kLoaded;
}

void* open_library(const std::string& name) {
  void* const library = dlopen(name.c_str(), RTLD_LAZY | RTLD_GLOBAL);
  if (library != nullptr || library_folder().empty()) return library;
  return dlopen((library_folder() / name).c_str(), RTLD_LAZY | RTLD_GLOBAL);
}

std::vector<OperationState> operation_states(const Cann& cann) {
  std::vector<OperationState> states;
#define ERNIE_IMAGE_STATE(name, parameters) \
  states.push_back({"aclnn" #name, bool(cann.name), alternative_of("aclnn" #name)});
  ERNIE_IMAGE_ACLNN_OPERATIONS(ERNIE_IMAGE_STATE)
#undef ERNIE_IMAGE_STATE
  return states;
}

}  // namespace ernie_image::ascend
