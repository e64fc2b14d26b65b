// How the operations of the stand-in are written: phase 1 checks what the vendor's checks refuse
// and keeps copies of the descriptors; the work runs later, in float, and rounds once.
#pragma once

#include <type_traits>

#include "backend/ascend/symbols.h"
#include "objects.h"

/// Phase 2, and the head of phase 1 with its two results, whose type must be the one the backend
/// calls.
#define STANDIN_OPERATION(name, ...)                                                        \
  extern "C" aclnnStatus aclnn##name(void* workspace, std::uint64_t bytes,                  \
                                     aclOpExecutor* executor, aclrtStream stream) {         \
    return launch("aclnn" #name, workspace, bytes, executor, stream);                       \
  }                                                                                         \
  extern "C" aclnnStatus aclnn##name##GetWorkspaceSize(                                     \
      __VA_ARGS__, std::uint64_t* workspace_bytes, aclOpExecutor** executor);               \
  static_assert(std::is_same_v<decltype(&aclnn##name##GetWorkspaceSize),                    \
                               decltype(decltype(ernie_image::ascend::Cann::name)::plan)>); \
  extern "C" aclnnStatus aclnn##name##GetWorkspaceSize(                                     \
      __VA_ARGS__, std::uint64_t* workspace_bytes, aclOpExecutor** executor)

namespace standin {

using Values = std::vector<float>;

inline bool is_float(aclDataType dtype) {
  return dtype == ACL_FLOAT || dtype == ACL_BF16 || dtype == ACL_FLOAT16;
}

/// `tensor` seen under a broader shape, with strides of 0; false if it does not fit.
bool broadcast(aclTensor& tensor, const std::vector<std::int64_t>& dims);

/// y[m, n] = sum over k of a[m, k] b[n, k], all dense, a: [rows, depth], b: [columns, depth].
void multiply_transposed(const float* a, const float* b, float* y, std::int64_t rows,
                         std::int64_t depth, std::int64_t columns);

/// Of two rows of `depth` codes.
std::int32_t dot_product(const std::int8_t* a, const std::int8_t* b, std::int64_t depth);

}  // namespace standin
