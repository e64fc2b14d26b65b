// Convolutions of pictures [B, H, W, C] with filters [O, k, k, C]: cuDNN's, or a matrix product
// over gathered patches.
#pragma once

#include <memory>

#include "backend/cuda/operations.h"
#include "backend/cuda/products.h"

namespace ernie_image::cuda {

/// A library's convolutions.
class LibraryConvolution {
 public:
  virtual ~LibraryConvolution() = default;
  /// Queues y = conv(x, filters) + bias, rounded once, or says that it has nothing for it. x,
  /// filters and y of one type, bias f32.
  virtual bool convolve(const Stream& stream, const Tensor& x, const Tensor& filters,
                        const Tensor& bias, Window window, const Tensor& y) = 0;
};
std::unique_ptr<LibraryConvolution> make_library_convolution(const Stream& stream);

class Convolution {
 public:
  Convolution(const Stream& stream, const Products& products)
      : stream_(stream), products_(products), library_(make_library_convolution(stream)) {}

  /// A kernel of 1 or 3; filters in the type of the file.
  Tensor operator()(const Tensor& x, const Tensor& filters, const Tensor& bias,
                    Window window) const;

 private:
  Tensor by_patches(const Tensor& x, const Tensor& filters, const Tensor& bias,
                    Window window) const;

  const Stream& stream_;
  const Products& products_;
  std::unique_ptr<LibraryConvolution> library_;
};

}  // namespace ernie_image::cuda
