// Compiled only with ERNIE_IMAGE_CANN_HEADERS=DIR: every declaration and number of ours against the
// real one.
// Emits no code.
#include <type_traits>

#include "acl/acl.h"
#include "aclnn/acl_meta.h"
#include "aclnnop/aclnn_add.h"
#include "aclnnop/aclnn_addcmul.h"
#include "aclnnop/aclnn_batch_matmul.h"
#include "aclnnop/aclnn_cast.h"
#include "aclnnop/aclnn_convolution.h"
#include "aclnnop/aclnn_copy.h"
#include "aclnnop/aclnn_dynamic_quant.h"
#include "aclnnop/aclnn_fill_scalar.h"
#include "aclnnop/aclnn_flash_attention_score.h"
#include "aclnnop/aclnn_fused_infer_attention_score_v2.h"
#include "aclnnop/aclnn_fused_infer_attention_score_v3.h"
#include "aclnnop/aclnn_gelu_v2.h"
#include "aclnnop/aclnn_group_norm.h"
#include "aclnnop/aclnn_group_norm_silu.h"
#include "aclnnop/aclnn_layer_norm.h"
#include "aclnnop/aclnn_masked_fill_scalar.h"
#include "aclnnop/aclnn_mm.h"
#include "aclnnop/aclnn_mul.h"
#include "aclnnop/aclnn_permute.h"
#include "aclnnop/aclnn_quant_matmul_v3.h"
#include "aclnnop/aclnn_quant_matmul_v4.h"
#include "aclnnop/aclnn_rms_norm.h"
#include "aclnnop/aclnn_silu.h"
#include "aclnnop/aclnn_softmax.h"
#include "aclnnop/aclnn_sub.h"
#include "aclnnop/aclnn_upsample_nearest_2d.h"
#if __has_include("aclnnop/aclnn_quant_matmul_v5.h") && \
                  __has_include("aclnnop/aclnn_quant_matmul_weight_nz.h")
#define ERNIE_IMAGE_HAS_LATER
#include "aclnnop/aclnn_quant_matmul_v5.h"
#include "aclnnop/aclnn_quant_matmul_weight_nz.h"
#endif
#include "backend/ascend/hccl.h"
#include "backend/ascend/symbols.h"

namespace ernie_image::ascend {

#define ERNIE_IMAGE_CHECK(name, value) static_assert(int(::name) == value, #name);
ERNIE_IMAGE_ACL_NUMBERS(ERNIE_IMAGE_CHECK)
ERNIE_IMAGE_HCCL_NUMBERS(ERNIE_IMAGE_CHECK)
#undef ERNIE_IMAGE_CHECK
static_assert(sizeof(::aclCANNPackageVersion) == 512);
#ifdef ACL_EVENT_SYNC
static_assert(kAclEventSync == ACL_EVENT_SYNC && kAclEventTimeLine == ACL_EVENT_TIME_LINE);
#endif
#ifdef ACL_ERROR_REPEAT_INITIALIZE
static_assert(kAclRepeatInitialize == ACL_ERROR_REPEAT_INITIALIZE);
#endif

#define ERNIE_IMAGE_CHECK(result, name, parameters) \
  static_assert(std::is_same_v<decltype(&::name), decltype(Cann::name)>, #name);
ERNIE_IMAGE_ACL_RUNTIME(ERNIE_IMAGE_CHECK)
ERNIE_IMAGE_ACL_RUNTIME_OPTIONAL(ERNIE_IMAGE_CHECK)
ERNIE_IMAGE_ACLNN_OBJECTS(ERNIE_IMAGE_CHECK)
#undef ERNIE_IMAGE_CHECK
#define ERNIE_IMAGE_CHECK(result, name, parameters) \
  static_assert(std::is_same_v<decltype(&::name), decltype(Hccl::name)>, #name);
ERNIE_IMAGE_HCCL(ERNIE_IMAGE_CHECK)
#undef ERNIE_IMAGE_CHECK

#define ERNIE_IMAGE_CHECK(name, parameters)                                                       \
  static_assert(std::is_same_v<decltype(&::aclnn##name##GetWorkspaceSize),                        \
                               decltype(decltype(Cann::name)::plan)>,                             \
                "aclnn" #name "GetWorkspaceSize");                                                \
  static_assert(std::is_same_v<decltype(&::aclnn##name), decltype(decltype(Cann::name)::launch)>, \
                "aclnn" #name);
ERNIE_IMAGE_ACLNN_OPTIONAL(ERNIE_IMAGE_CHECK)
ERNIE_IMAGE_ACLNN_REQUIRED(ERNIE_IMAGE_CHECK)
#ifdef ERNIE_IMAGE_HAS_LATER
ERNIE_IMAGE_ACLNN_LATER(ERNIE_IMAGE_CHECK)
#endif
#undef ERNIE_IMAGE_CHECK

}  // namespace ernie_image::ascend
