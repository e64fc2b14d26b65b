#include "backend/ascend/symbols.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>

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

/// Names of libopapi_*.so in the toolkit: since CANN 8.5 the operations are spread over several.
std::vector<std::string> split_operation_libraries() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(library_folder(), error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("libopapi_") && name.ends_with(".so")) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
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
    void* library = dlopen(name.c_str(), RTLD_LAZY | RTLD_GLOBAL);
    if (library == nullptr && name.find('/') == std::string::npos && !library_folder().empty())
      library = dlopen((library_folder() / name).c_str(), RTLD_LAZY | RTLD_GLOBAL);
    if (library != nullptr) cann_.libraries.push_back(name);
    return library;
  }

  void load() {
    void* const runtime = open("libascendcl.so");
    if (runtime == nullptr) {
      cann_.problem = "no CANN: libascendcl.so was not found " + where_looked() +
                      "; install driver, CANN toolkit and the kernels package of the chip, run "
                      "`source <toolkit>/set_env.sh`, then `ernie-image devices`";
      return;
    }
    void* const objects = open("libnnopbase.so");
    open_operations();
#define ERNIE_IMAGE_RESOLVE(result, name, parameters) resolve(runtime, #name, cann_.name);
    ERNIE_IMAGE_ACL_RUNTIME(ERNIE_IMAGE_RESOLVE)
#undef ERNIE_IMAGE_RESOLVE
#define ERNIE_IMAGE_RESOLVE(result, name, parameters) resolve(objects, #name, cann_.name);
    ERNIE_IMAGE_ACLNN_OBJECTS(ERNIE_IMAGE_RESOLVE)
#undef ERNIE_IMAGE_RESOLVE
#define ERNIE_IMAGE_RESOLVE(name, parameters) resolve_operation(cann_.name);
    ERNIE_IMAGE_ACLNN_OPERATIONS(ERNIE_IMAGE_RESOLVE)
#undef ERNIE_IMAGE_RESOLVE
#define ERNIE_IMAGE_REQUIRE(name, parameters) \
  if (!cann_.name) missing_ += " aclnn" #name;
    ERNIE_IMAGE_ACLNN_REQUIRED(ERNIE_IMAGE_REQUIRE)
#undef ERNIE_IMAGE_REQUIRE
    if (!missing_.empty()) cann_.problem = "this CANN lacks" + missing_;
  }

 private:
  /// The order of torch_npu: users' own operators, the split libraries, the one library of older
  /// releases, and the feature libraries of still older ones.
  void open_operations() {
    for (const std::string& folder : split(environment("ASCEND_CUSTOM_OPP_PATH"), ':'))
      add_operations(folder + "/op_api/lib/libcust_opapi.so");
    for (const std::string& name : split_operation_libraries()) add_operations(name);
    for (const char* name : {"libopapi.so", "libaclnn_math.so", "libaclnn_ops_infer.so",
                             "libaclnn_ops_train.so", "libaclnn_rand.so"}) {
      add_operations(name);
    }
  }

  void add_operations(const std::string& name) {
    if (void* library = open(name)) operations_.push_back(library);
  }

  template <typename Function>
  void resolve(void* library, const char* name, Function*& target) {
    if (library != nullptr) target = reinterpret_cast<Function*>(dlsym(library, name));
    if (target == nullptr) missing_ += std::string(" ") + name;
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
  std::set<std::string> without_;  // pretended to be absent, to get round one that misbehaves
  std::string missing_;
};

std::string alternative_of(const std::string& name) {
  if (name == "aclnnFusedInferAttentionScoreV2")
    return "V3, else attention composed of BatchMatMul and Softmax";
  if (name == "aclnnFusedInferAttentionScoreV3")
    return "V2, else attention composed of BatchMatMul and Softmax";
  if (name == "aclnnFlashAttentionScore") return "attention composed of BatchMatMul and Softmax";
  if (name == "aclnnGroupNormSiluV2") return "GroupNorm in fp32";
  if (name == "aclnnUpsampleNearest2d") return "a broadcast copy";
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

std::vector<OperationState> operation_states(const Cann& cann) {
  std::vector<OperationState> states;
#define ERNIE_IMAGE_STATE(name, parameters) \
  states.push_back({"aclnn" #name, bool(cann.name), alternative_of("aclnn" #name)});
  ERNIE_IMAGE_ACLNN_OPERATIONS(ERNIE_IMAGE_STATE)
#undef ERNIE_IMAGE_STATE
  return states;
}

}  // namespace ernie_image::ascend
