// Norms on the CPU (RMSNorm, LayerNorm, GroupNorm, the norm and rotation of queries and keys):
// kernels a vector policy provides, and the threaded drivers around them. The results (`y`) are
// allocated by the caller, with the shape and dtype that backend.h names.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace ernie_image {

struct NormKernels {
  /// scale and shift [n] of the activation dtype; both null for a plain norm.
  struct Modulation {
    const void* scale = nullptr;
    const void* shift = nullptr;
  };

  /// One position of a rotary table [D], for D even. row_scale: null for none.
  struct Rotation {
    const float* cos;
    const float* sin;
    const float* row_scale;
  };

  /// What GroupNorm does to one pixel, by channel: (x - mean) * factor + bias.
  struct ChannelAffine {
    const float* mean;
    const float* factor;
    const float* bias;
    Activation activation;
  };

  /// For one activation dtype, to which the pointers without a type point.
  struct Table {
    /// One row of n elements.
    void (*rms_norm)(const void* x, const float* weight, float eps, Modulation modulation, void* y,
                     std::int64_t n);
    void (*layer_norm_modulate)(const void* x, float eps, Modulation modulation, void* y,
                                std::int64_t n);

    /// One head vector of n = D elements; weight may be null (no norm).
    void (*norm_rope)(const void* x, const float* weight, float eps, Rotation rotation, void* y,
                      std::int64_t n);

    /// sums[c] = sum over pixels of x[pixel][c] - centre[c], or of the squares of that.
    void (*channel_sums)(const void* x, std::int64_t pixels, std::int64_t channels,
                         const float* centre, float* sums);
    void (*channel_squares)(const void* x, std::int64_t pixels, std::int64_t channels,
                            const float* centre, float* sums);

    void (*channel_affine)(const void* x, std::int64_t pixels, std::int64_t channels,
                           ChannelAffine affine, void* y);
  };
  Table f32;
  Table bf16;

  /// f32 or bf16.
  const Table& of(DType dtype) const { return dtype == DType::bf16 ? bf16 : f32; }
};

/// Defined in norm.inc.h.
template <class V>
NormKernels make_norm_kernels();

namespace cpu {

/// Weights and biases are widened to float by whoever prepared them.
void rms_norm(ThreadPool& pool, const NormKernels& kernels, const Tensor& x, const float* weight,
              float eps, Tensor& y);
void rms_norm_modulate(ThreadPool& pool, const NormKernels& kernels, const Tensor& x,
                       const float* weight, float eps, Chunk scale, Chunk shift, Tensor& y);
void layer_norm_modulate(ThreadPool& pool, const NormKernels& kernels, const Tensor& x, float eps,
                         Chunk scale, Chunk shift, Tensor& y);

/// `norm_weight` [D] may be null.
void norm_rope(ThreadPool& pool, const NormKernels& kernels, const Tensor& x,
               const float* norm_weight, float eps, const RotaryTable& rotary, Tensor& y);

/// f32 [B, groups, 2], mean and 1 / sqrt(variance + eps), of the picture that the bands make up.
Tensor group_statistics(ThreadPool& pool, const NormKernels& kernels, std::span<const Tensor> bands,
                        int groups, float eps);

/// Such statistics laid out by channel, [B, C] each, the factor times the norm's weight [C].
struct ChannelNorm {
  ChannelNorm(const Tensor& statistics, std::int64_t channels, const float* weight);

  std::vector<float> mean;
  std::vector<float> factor;
};

void group_norm(ThreadPool& pool, const NormKernels& kernels, const Tensor& x, const float* weight,
                const float* bias, int groups, float eps, Activation activation, Tensor& y);

}  // namespace cpu
}  // namespace ernie_image
