// The types of AscendCL and aclnn that this backend uses, declared by ourselves: no CANN at build
// time. Values as in CANN 8.x. With ERNIE_IMAGE_CANN_HEADERS the real types stand here instead and
// check_headers.cpp compares every declaration of ours with the real one.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef ERNIE_IMAGE_CANN_HEADERS
#include "acl/acl.h"
#include "aclnn/acl_meta.h"
namespace ernie_image::ascend {
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
enum aclDataType : int {
  ACL_FLOAT = 0,
  ACL_FLOAT16 = 1,
  ACL_INT64 = 9,
  ACL_BOOL = 12,
  ACL_BF16 = 27,
};
enum aclFormat : int { ACL_FORMAT_NCHW = 0, ACL_FORMAT_NHWC = 1, ACL_FORMAT_ND = 2 };
enum aclrtMemcpyKind : int {
  ACL_MEMCPY_HOST_TO_DEVICE = 1,
  ACL_MEMCPY_DEVICE_TO_HOST = 2,
  ACL_MEMCPY_DEVICE_TO_DEVICE = 3,
};
enum aclrtMemMallocPolicy : int { ACL_MEM_MALLOC_HUGE_FIRST = 0 };
enum aclrtMemAttr : int { ACL_HBM_MEM = 1 };
}  // namespace ernie_image::ascend
#endif

namespace ernie_image::ascend {

using aclError = int;
using aclnnStatus = std::int32_t;
using aclrtStream = void*;
using aclrtEvent = void*;

inline constexpr aclError kAclRepeatInitialize = 100002;

}  // namespace ernie_image::ascend
