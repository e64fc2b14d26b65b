// HCCL, the library by which Ascend cards send each other tensors: resolved by name at run time
// like the rest of CANN.
#pragma once

#include <cstdint>
#include <string>

#include "backend/ascend/acl_types.h"

#define ERNIE_IMAGE_HCCL_RESULTS(X) X(HCCL_SUCCESS, 0)
#define ERNIE_IMAGE_HCCL_DATA_TYPES(X) X(HCCL_DATA_TYPE_FP32, 4) X(HCCL_DATA_TYPE_BFP16, 11)
#define ERNIE_IMAGE_HCCL_REDUCTIONS(X) X(HCCL_REDUCE_SUM, 0)
#define ERNIE_IMAGE_HCCL_NUMBERS(X) \
  ERNIE_IMAGE_HCCL_RESULTS(X)       \
  ERNIE_IMAGE_HCCL_DATA_TYPES(X)    \
  ERNIE_IMAGE_HCCL_REDUCTIONS(X)

#ifdef ERNIE_IMAGE_CANN_HEADERS
#include "hccl/hccl.h"
namespace ernie_image::ascend {
using ::HcclComm;
using ::HcclDataType;
using ::HcclReduceOp;
using ::HcclResult;
}  // namespace ernie_image::ascend
#else
namespace ernie_image::ascend {
#define ERNIE_IMAGE_ENUMERATOR(name, value) name = value,
enum HcclResult : unsigned { ERNIE_IMAGE_HCCL_RESULTS(ERNIE_IMAGE_ENUMERATOR) };
enum HcclDataType : unsigned { ERNIE_IMAGE_HCCL_DATA_TYPES(ERNIE_IMAGE_ENUMERATOR) };
enum HcclReduceOp : unsigned { ERNIE_IMAGE_HCCL_REDUCTIONS(ERNIE_IMAGE_ENUMERATOR) };
#undef ERNIE_IMAGE_ENUMERATOR
using HcclComm = void*;
}  // namespace ernie_image::ascend
#endif

/// X(result, name, parameters): libhccl.so
#define ERNIE_IMAGE_HCCL(X)                                                                        \
  X(HcclResult, HcclCommInitAll,                                                                   \
    (std::uint32_t count, std::int32_t * devices, HcclComm * communicators))                       \
  X(HcclResult, HcclCommDestroy, (HcclComm communicator))                                          \
  X(HcclResult, HcclAlltoAll,                                                                      \
    (const void* source, std::uint64_t source_count, HcclDataType source_type, const void* target, \
     std::uint64_t target_count, HcclDataType target_type, HcclComm communicator,                  \
     aclrtStream stream))                                                                          \
  X(HcclResult, HcclAllGather,                                                                     \
    (void* source, void* target, std::uint64_t source_count, HcclDataType type,                    \
     HcclComm communicator, aclrtStream stream))                                                   \
  X(HcclResult, HcclAllReduce,                                                                     \
    (void* source, void* target, std::uint64_t count, HcclDataType type, HcclReduceOp operation,   \
     HcclComm communicator, aclrtStream stream))                                                   \
  X(const char*, HcclGetErrorString, (HcclResult code))

namespace ernie_image::ascend {

struct Hccl {
#define ERNIE_IMAGE_FUNCTION(result, name, parameters) result(*name) parameters = nullptr;
  ERNIE_IMAGE_HCCL(ERNIE_IMAGE_FUNCTION)
#undef ERNIE_IMAGE_FUNCTION
  std::string problem;  ///< why it cannot be used; empty if it can
};

/// Opened by the first call, for good.
const Hccl& hccl();

}  // namespace ernie_image::ascend
