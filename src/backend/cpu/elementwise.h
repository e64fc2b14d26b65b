// Element-wise operations and data movement on the CPU: kernels a vector policy provides, and the
// threaded drivers around them. The results (`y`) are allocated by the caller, with the shape and
// dtype that backend.h names.
#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"
#include "backend/cpu/simd.h"
#include "backend/gelu.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "core/weight.h"

namespace ernie_image {

/// Functions over n contiguous elements; `y` may be one of the inputs.
struct ElementwiseKernels {
  /// For one activation dtype, to which the pointers point.
  struct Table {
    void (*add)(const void* a, const void* b, void* y, std::int64_t n);
    void (*multiply)(const void* a, const void* b, void* y, std::int64_t n);
    void (*gelu_mul)(const void* gate, const void* up, void* y, std::int64_t n);
    void (*silu_mul)(const void* gate, const void* up, void* y, std::int64_t n);
    void (*gelu)(const void* x, void* y, std::int64_t n);
    void (*gelu_tanh_mul)(const void* gate, const void* up, void* y, std::int64_t n);
    void (*gelu_tanh)(const void* x, void* y, std::int64_t n);
    void (*silu)(const void* x, void* y, std::int64_t n);
    /// y = x + round(gate * branch)
    void (*gated_add)(const void* x, const void* gate, const void* branch, void* y, std::int64_t n);
    /// Converts from f32, bf16 and f16 to this dtype.
    void (*from_f32)(const void* x, void* y, std::int64_t n);
    void (*from_bf16)(const void* x, void* y, std::int64_t n);
    void (*from_f16)(const void* x, void* y, std::int64_t n);
  };
  Table f32;
  Table bf16;

  /// f32 or bf16.
  const Table& of(DType dtype) const { return dtype == DType::bf16 ? bf16 : f32; }
};

/// Defined in elementwise.inc.h.
template <class V>
ElementwiseKernels make_elementwise_kernels();

namespace cpu {

/// `table` is f32, bf16 or f16: else Error(unsupported).
void embedding(ThreadPool& pool, const ElementwiseKernels& kernels,
               std::span<const std::int32_t> ids, const Weight& table, Tensor& y);

void add(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& a, const Tensor& b,
         Tensor& y);
void multiply(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& a, const Tensor& b,
              Tensor& y);
void gelu_mul(ThreadPool& pool, const ElementwiseKernels& kernels, GeluForm form,
              const Tensor& gate, const Tensor& up, Tensor& y);
void silu_mul(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& gate,
              const Tensor& up, Tensor& y);
void gelu(ThreadPool& pool, const ElementwiseKernels& kernels, GeluForm form, const Tensor& x,
          Tensor& y);
void silu(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& x, Tensor& y);
void gated_add(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& x, Chunk gate,
               const Tensor& branch, Tensor& y);

/// Between f32 and bf16, either way.
void cast(ThreadPool& pool, const ElementwiseKernels& kernels, const Tensor& x, Tensor& y);

void concat_rows(ThreadPool& pool, const Tensor& a, const Tensor& b, Tensor& y);
void slice_rows(ThreadPool& pool, const Tensor& x, std::int64_t begin, Tensor& y);
void transpose_rows(ThreadPool& pool, const Tensor& x, Tensor& y);
void upsample_nearest2x(ThreadPool& pool, const Tensor& x, Tensor& y);

}  // namespace cpu
}  // namespace ernie_image
