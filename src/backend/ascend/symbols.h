// CANN at run time: its libraries found and its functions resolved by name.
#pragma once

#include <string>
#include <vector>

#include "backend/ascend/acl_functions.h"

namespace ernie_image::ascend {

/// Both phases of an aclnn operation; null where the libraries lack it.
template <typename... Parameters>
struct Operation {
  const char* name = "";
  aclnnStatus (*plan)(Parameters..., std::uint64_t* workspace_bytes,
                      aclOpExecutor** executor) = nullptr;
  aclnnStatus (*launch)(void* workspace, std::uint64_t workspace_bytes, aclOpExecutor* executor,
                        aclrtStream stream) = nullptr;

  explicit operator bool() const { return plan != nullptr && launch != nullptr; }
};

/// One member a function: `cann.aclrtMalloc(...)`, `cann.Mm`.
struct Cann {
#define ERNIE_IMAGE_FUNCTION(result, name, parameters) result(*name) parameters = nullptr;
  ERNIE_IMAGE_ACL_RUNTIME(ERNIE_IMAGE_FUNCTION)
  ERNIE_IMAGE_ACL_RUNTIME_OPTIONAL(ERNIE_IMAGE_FUNCTION)
  ERNIE_IMAGE_ACLNN_OBJECTS(ERNIE_IMAGE_FUNCTION)
#undef ERNIE_IMAGE_FUNCTION
  template <typename Signature>
  struct OperationOf;
  template <typename... Parameters>
  struct OperationOf<void(Parameters...)> {
    using type = Operation<Parameters...>;
  };
#define ERNIE_IMAGE_OPERATION(name, parameters) \
  OperationOf<void parameters>::type name{"aclnn" #name};
  ERNIE_IMAGE_ACLNN_OPERATIONS(ERNIE_IMAGE_OPERATION)
#undef ERNIE_IMAGE_OPERATION

  /// What was opened, in order.
  std::vector<std::string> libraries;
  /// Why CANN cannot be used on this machine; empty if it can.
  std::string problem;
};

/// Opened by the first call, for good: CANN's libraries do not survive being closed.
const Cann& cann();

/// By plain name, so that LD_LIBRARY_PATH decides, else from the toolkit's own folder; or null.
void* open_library(const std::string& name);

struct OperationState {
  std::string name;
  bool present;
  std::string alternative;  ///< what is computed instead if absent; empty: cannot do without
};

/// Every operation used, for `ernie-image devices`.
std::vector<OperationState> operation_states(const Cann& cann);

}  // namespace ernie_image::ascend
