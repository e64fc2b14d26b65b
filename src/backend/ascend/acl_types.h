// The types of AscendCL and aclnn that this backend uses, declared by ourselves: no CANN at build
// time. Values as in CANN 8.x. With ERNIE_IMAGE_CANN_HEADERS the real types stand here instead and
// check_headers.cpp compares every declaration and every number of ours with the real one.
#pragma once

#include <cstddef>
#include <cstdint>

// X(name, value), the enumerators of each type.
#define ERNIE_IMAGE_ACL_DATA_TYPES(X) \
  X(ACL_FLOAT, 0) X(ACL_FLOAT16, 1) X(ACL_INT8, 2) X(ACL_INT64, 9) X(ACL_BOOL, 12) X(ACL_BF16, 27)
#define ERNIE_IMAGE_ACL_FORMATS(X) \
  X(ACL_FORMAT_NCHW, 0) X(ACL_FORMAT_ND, 2) X(ACL_FORMAT_NCDHW, 30) X(ACL_FORMAT_NCL, 47)
#define ERNIE_IMAGE_ACL_COPIES(X) \
  X(ACL_MEMCPY_HOST_TO_DEVICE, 1) X(ACL_MEMCPY_DEVICE_TO_HOST, 2) X(ACL_MEMCPY_DEVICE_TO_DEVICE, 3)
#define ERNIE_IMAGE_ACL_ALLOCATIONS(X) X(ACL_MEM_MALLOC_HUGE_FIRST, 0)
#define ERNIE_IMAGE_ACL_MEMORIES(X) X(ACL_HBM_MEM, 1)
#define ERNIE_IMAGE_ACL_PACKAGES(X) X(ACL_PKG_NAME_CANN, 0)
#define ERNIE_IMAGE_ACL_NUMBERS(X) \
  ERNIE_IMAGE_ACL_DATA_TYPES(X)    \
  ERNIE_IMAGE_ACL_FORMATS(X)       \
  ERNIE_IMAGE_ACL_COPIES(X)        \
  ERNIE_IMAGE_ACL_ALLOCATIONS(X)   \
  ERNIE_IMAGE_ACL_MEMORIES(X)      \
  ERNIE_IMAGE_ACL_PACKAGES(X)

#ifdef ERNIE_IMAGE_CANN_HEADERS
#include "acl/acl.h"
#include "aclnn/acl_meta.h"
namespace ernie_image::ascend {
using ::aclCANNPackageName;
using ::aclCANNPackageVersion;
using ::aclDataType;
using ::aclFormat;
using ::aclIntArray;
using ::aclOpExecutor;
using ::aclrtMemAttr;
using ::aclrtMemcpyKind;
using ::aclrtMemMallocPolicy;
using ::aclScalar;
using ::aclTensor;
using ::aclTensorList;
}  // namespace ernie_image::ascend
#else
namespace ernie_image::ascend {
struct aclTensor;
struct aclTensorList;
struct aclScalar;
struct aclIntArray;
struct aclOpExecutor;
#define ERNIE_IMAGE_ENUMERATOR(name, value) name = value,
enum aclDataType : int { ERNIE_IMAGE_ACL_DATA_TYPES(ERNIE_IMAGE_ENUMERATOR) };
enum aclFormat : int { ERNIE_IMAGE_ACL_FORMATS(ERNIE_IMAGE_ENUMERATOR) };
enum aclrtMemcpyKind : int { ERNIE_IMAGE_ACL_COPIES(ERNIE_IMAGE_ENUMERATOR) };
enum aclrtMemMallocPolicy : int { ERNIE_IMAGE_ACL_ALLOCATIONS(ERNIE_IMAGE_ENUMERATOR) };
enum aclrtMemAttr : int { ERNIE_IMAGE_ACL_MEMORIES(ERNIE_IMAGE_ENUMERATOR) };
enum aclCANNPackageName : int { ERNIE_IMAGE_ACL_PACKAGES(ERNIE_IMAGE_ENUMERATOR) };
/// "8.1.RC1", and its parts.
struct aclCANNPackageVersion {
  char version[128];
  char majorVersion[64];
  char minorVersion[64];
  char releaseVersion[64];
  char patchVersion[64];
  char reserved[128];
};
#undef ERNIE_IMAGE_ENUMERATOR
}  // namespace ernie_image::ascend
#endif

namespace ernie_image::ascend {

using aclError = int;
using aclnnStatus = std::int32_t;
using aclrtStream = void*;
using aclrtEvent = void*;

inline constexpr aclError kAclRepeatInitialize = 100002;
// Flags of events: for waiting, and for timing as well.
inline constexpr std::uint32_t kAclEventSync = 1, kAclEventTimeLine = 8;

}  // namespace ernie_image::ascend
