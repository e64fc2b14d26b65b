// The functions of CANN that this backend calls, as lists: name and parameters, once.
//
// The loader makes a pointer of each, check_headers.cpp compares each with the real header, and
// `ernie-image devices` prints which are present. Every aclnn operation is two functions: phase 1,
// aclnn<Name>GetWorkspaceSize, has the parameters listed and two results; phase 2 is always alike.
#pragma once

#include "backend/ascend/acl_types.h"

/// X(result, name, parameters): libascendcl.so
#define ERNIE_IMAGE_ACL_RUNTIME(X)                                                                 \
  X(aclError, aclInit, (const char* config_path))                                                  \
  X(const char*, aclGetRecentErrMsg, ())                                                           \
  X(const char*, aclrtGetSocName, ())                                                              \
  X(aclError, aclrtGetDeviceCount, (std::uint32_t * count))                                        \
  X(aclError, aclrtSetDevice, (std::int32_t device))                                               \
  X(aclError, aclrtGetMemInfo, (aclrtMemAttr kind, std::size_t * free, std::size_t * total))       \
  X(aclError, aclrtCreateStream, (aclrtStream * stream))                                           \
  X(aclError, aclrtDestroyStream, (aclrtStream stream))                                            \
  X(aclError, aclrtSynchronizeStream, (aclrtStream stream))                                        \
  X(aclError, aclrtCreateEventExWithFlag, (aclrtEvent * event, std::uint32_t flag))                \
  X(aclError, aclrtDestroyEvent, (aclrtEvent event))                                               \
  X(aclError, aclrtRecordEvent, (aclrtEvent event, aclrtStream stream))                            \
  X(aclError, aclrtStreamWaitEvent, (aclrtStream stream, aclrtEvent event))                        \
  X(aclError, aclrtSynchronizeEvent, (aclrtEvent event))                                           \
  X(aclError, aclrtEventElapsedTime, (float* milliseconds, aclrtEvent begin, aclrtEvent end))      \
  X(aclError, aclrtMalloc, (void** memory, std::size_t bytes, aclrtMemMallocPolicy policy))        \
  X(aclError, aclrtFree, (void* memory))                                                           \
  X(aclError, aclrtMallocHost, (void** memory, std::size_t bytes))                                 \
  X(aclError, aclrtFreeHost, (void* memory))                                                       \
  X(aclError, aclrtMemcpy,                                                                         \
    (void* target, std::size_t room, const void* source, std::size_t bytes, aclrtMemcpyKind kind)) \
  X(aclError, aclrtMemcpyAsync,                                                                    \
    (void* target, std::size_t room, const void* source, std::size_t bytes, aclrtMemcpyKind kind,  \
     aclrtStream stream))

/// The same; releases may lack these.
#define ERNIE_IMAGE_ACL_RUNTIME_OPTIONAL(X) \
  X(aclError, aclsysGetCANNVersion, (aclCANNPackageName package, aclCANNPackageVersion * version))

/// X(result, name, parameters): libnnopbase.so
#define ERNIE_IMAGE_ACLNN_OBJECTS(X)                                                               \
  X(aclTensor*, aclCreateTensor,                                                                   \
    (const std::int64_t* dims, std::uint64_t rank, aclDataType dtype, const std::int64_t* strides, \
     std::int64_t offset, aclFormat format, const std::int64_t* storage_dims,                      \
     std::uint64_t storage_rank, void* data))                                                      \
  X(aclScalar*, aclCreateScalar, (void* value, aclDataType dtype))                                 \
  X(aclIntArray*, aclCreateIntArray, (const std::int64_t* values, std::uint64_t count))            \
  X(aclTensorList*, aclCreateTensorList, (const aclTensor* const* tensors, std::uint64_t count))   \
  X(aclnnStatus, aclDestroyTensor, (const aclTensor* tensor))                                      \
  X(aclnnStatus, aclDestroyScalar, (const aclScalar* scalar))                                      \
  X(aclnnStatus, aclDestroyIntArray, (const aclIntArray* array))                                   \
  X(aclnnStatus, aclDestroyTensorList, (const aclTensorList* list))

// The parameters of the two versions of fused inference attention, up to where they differ.
#define ERNIE_IMAGE_FIA_BEGIN                                                                     \
  const aclTensor *query, const aclTensorList *key, const aclTensorList *value,                   \
      const aclTensor *pse_shift, const aclTensor *atten_mask, const aclIntArray *query_lengths,  \
      const aclIntArray *key_lengths, const aclTensor *deq_scale1, const aclTensor *quant_scale1, \
      const aclTensor *deq_scale2, const aclTensor *quant_scale2, const aclTensor *quant_offset2, \
      const aclTensor *antiquant_scale, const aclTensor *antiquant_offset,                        \
      const aclTensor *block_table, const aclTensor *query_padding, const aclTensor *kv_padding,  \
      const aclTensor *key_antiquant_scale, const aclTensor *key_antiquant_offset,                \
      const aclTensor *value_antiquant_scale, const aclTensor *value_antiquant_offset,            \
      const aclTensor *key_prefix, const aclTensor *value_prefix, const aclIntArray *prefix_length
#define ERNIE_IMAGE_FIA_END                                                                      \
  std::int64_t heads, double scale, std::int64_t pre_tokens, std::int64_t next_tokens,           \
      char *layout, std::int64_t kv_heads, std::int64_t sparse_mode, std::int64_t inner_precise, \
      std::int64_t block_size, std::int64_t antiquant_mode, bool lse_flag,                       \
      std::int64_t key_antiquant_mode, std::int64_t value_antiquant_mode, const aclTensor *out,  \
      const aclTensor *lse

/// X(name, parameters of phase 1 without its two results): libopapi*.so. Without one of these the
/// backend computes something else, see `alternative_of`.
#define ERNIE_IMAGE_ACLNN_OPTIONAL(X)                                                            \
  X(FusedInferAttentionScoreV2, (ERNIE_IMAGE_FIA_BEGIN, ERNIE_IMAGE_FIA_END))                    \
  X(FusedInferAttentionScoreV3,                                                                  \
    (ERNIE_IMAGE_FIA_BEGIN, const aclTensor* query_rope, const aclTensor* key_rope,              \
     const aclTensor* key_rope_antiquant_scale, ERNIE_IMAGE_FIA_END))                            \
  X(FlashAttentionScore,                                                                         \
    (const aclTensor* query, const aclTensor* key, const aclTensor* value,                       \
     const aclTensor* real_shift, const aclTensor* drop_mask, const aclTensor* padding_mask,     \
     const aclTensor* atten_mask, const aclIntArray* prefix, double scale, double keep_prob,     \
     std::int64_t pre_tokens, std::int64_t next_tokens, std::int64_t heads, char* layout,        \
     std::int64_t inner_precise, std::int64_t sparse_mode, const aclTensor* softmax_max,         \
     const aclTensor* softmax_sum, const aclTensor* softmax_out, const aclTensor* out))          \
  X(GroupNormSiluV2,                                                                             \
    (const aclTensor* x, const aclTensor* gamma, const aclTensor* beta, std::int64_t groups,     \
     double eps, bool activate_silu, aclTensor* out, aclTensor* mean, aclTensor* rstd))          \
  X(UpsampleNearest2d, (const aclTensor* x, const aclIntArray* size, aclTensor* out))            \
  X(DynamicQuant, (const aclTensor* x, const aclTensor* smooth_scales, const aclTensor* out,     \
                   const aclTensor* scales))                                                     \
  X(QuantMatmulV3,                                                                               \
    (const aclTensor* x, const aclTensor* w, const aclTensor* scale, const aclTensor* offset,    \
     const aclTensor* bias, bool transpose_x, bool transpose_w, const aclTensor* out))           \
  X(QuantMatmulV4, (const aclTensor* x, const aclTensor* w, const aclTensor* scale,              \
                    const aclTensor* offset, const aclTensor* row_scales, const aclTensor* bias, \
                    bool transpose_x, bool transpose_w, const aclTensor* out))

/// Likewise, and the headers of CANN 8.1 lack them.
#define ERNIE_IMAGE_ACLNN_LATER(X)                                                                 \
  X(QuantMatmulWeightNz,                                                                           \
    (const aclTensor* x, const aclTensor* w, const aclTensor* x_scales, const aclTensor* w_scales, \
     const aclTensor* y_scale, const aclTensor* x_offset, const aclTensor* w_offset,               \
     const aclTensor* y_offset, const aclTensor* bias, bool transpose_x, bool transpose_w,         \
     std::int64_t group_size, aclTensor* out))                                                     \
  X(QuantMatmulV5,                                                                                 \
    (const aclTensor* x, const aclTensor* w, const aclTensor* x_scales, const aclTensor* w_scales, \
     const aclTensor* y_scale, const aclTensor* x_offset, const aclTensor* w_offset,               \
     const aclTensor* y_offset, const aclTensor* bias, bool transpose_x, bool transpose_w,         \
     std::int64_t group_size, aclTensor* out))

/// The same; there is no device without these.
#define ERNIE_IMAGE_ACLNN_REQUIRED(X)                                                              \
  X(Mm, (const aclTensor* x, const aclTensor* w, aclTensor* out, std::int8_t cube_math_type))      \
  X(BatchMatMul,                                                                                   \
    (const aclTensor* x, const aclTensor* w, aclTensor* out, std::int8_t cube_math_type))          \
  X(Cast, (const aclTensor* x, const aclDataType dtype, aclTensor* out))                           \
  X(InplaceCopy, (aclTensor * target, const aclTensor* source))                                    \
  X(Permute, (const aclTensor* x, const aclIntArray* axes, aclTensor* out))                        \
  X(Add, (const aclTensor* a, const aclTensor* b, const aclScalar* alpha, aclTensor* out))         \
  X(Adds, (const aclTensor* a, const aclScalar* b, const aclScalar* alpha, aclTensor* out))        \
  X(Sub, (const aclTensor* a, const aclTensor* b, const aclScalar* alpha, aclTensor* out))         \
  X(Mul, (const aclTensor* a, const aclTensor* b, aclTensor* out))                                 \
  X(Muls, (const aclTensor* a, const aclScalar* b, aclTensor* out))                                \
  X(Addcmul, (const aclTensor* x, const aclTensor* a, const aclTensor* b, const aclScalar* value,  \
              aclTensor* out))                                                                     \
  X(InplaceFillScalar, (aclTensor * target, const aclScalar* value))                               \
  X(InplaceMaskedFillScalar, (aclTensor * target, const aclTensor* mask, const aclScalar* value))  \
  X(Silu, (const aclTensor* x, aclTensor* out))                                                    \
  X(GeluV2, (const aclTensor* x, std::int64_t approximate, aclTensor* out))                        \
  X(Softmax, (const aclTensor* x, std::int64_t axis, aclTensor* out))                              \
  X(RmsNorm, (const aclTensor* x, const aclTensor* gamma, double eps, const aclTensor* out,        \
              const aclTensor* rstd))                                                              \
  X(LayerNorm,                                                                                     \
    (const aclTensor* x, const aclIntArray* normalized_shape, const aclTensor* weight,             \
     const aclTensor* bias, double eps, aclTensor* out, aclTensor* mean, aclTensor* rstd))         \
  X(GroupNorm,                                                                                     \
    (const aclTensor* x, const aclTensor* gamma, const aclTensor* beta, std::int64_t batch,        \
     std::int64_t channels, std::int64_t pixels, std::int64_t groups, double eps, aclTensor* out,  \
     aclTensor* mean, aclTensor* rstd))                                                            \
  X(Convolution, (const aclTensor* x, const aclTensor* weight, const aclTensor* bias,              \
                  const aclIntArray* stride, const aclIntArray* padding,                           \
                  const aclIntArray* dilation, bool transposed, const aclIntArray* output_padding, \
                  const std::int64_t groups, aclTensor* out, std::int8_t cube_math_type))

#define ERNIE_IMAGE_ACLNN_OPERATIONS(X) \
  ERNIE_IMAGE_ACLNN_OPTIONAL(X)         \
  ERNIE_IMAGE_ACLNN_LATER(X)            \
  ERNIE_IMAGE_ACLNN_REQUIRED(X)
