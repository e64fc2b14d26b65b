// Matrix products y[M, N] = x[M, K] w[N, K]^T: cuBLASLt's where it has one for the shape, our own
// otherwise.
#pragma once

#include <memory>

#include "backend/cuda/product_key.h"
#include "backend/cuda/stream.h"

namespace ernie_image::cuda {

/// A matrix in the card's memory, row-major, its rows `stride` elements apart.
struct Matrix {
  DType dtype;
  std::byte* data;
  std::int64_t rows, columns, stride;
};

/// The last axis of the tensor are the columns.
Matrix matrix_of(const Tensor& tensor);

/// A library's products.
class LibraryProducts {
 public:
  virtual ~LibraryProducts() = default;
  /// Queues y = x w^T, or says that it has nothing for these types, shapes and addresses.
  /// Types: bf16 and bf16 to bf16 or f32, f32 to f32, i8 to i32; sums in f32 or i32.
  virtual bool multiply(const Stream& stream, const Matrix& x, const Matrix& w,
                        const Matrix& y) = 0;
};

/// cuBLASLt's.
std::unique_ptr<LibraryProducts> make_library_products(const Stream& stream);

/// The same with kernels of our own, which take every shape: products.cu.
void multiply_plainly(const Stream& stream, const Matrix& x, const Matrix& w, const Matrix& y);

/// x [.., K] of one row, w [N, K] plain in f32, f16 or bf16, bias f32 [N] or empty: y [.., N] of
/// x's type, summed in float and rounded once. The weights are read once, as a stream.
void multiply_row(const Stream& stream, const Tensor& x, const Tensor& w, const Tensor& bias,
                  const Tensor& y);

class Products {
 public:
  explicit Products(const Stream& stream) : library_(make_library_products(stream)) {}

  void multiply(const Stream& stream, const Matrix& x, const Matrix& w, const Matrix& y) const {
    if (x.rows == 0 || w.rows == 0) return;
    if (library_ == nullptr || !library_->multiply(stream, x, w, y))
      multiply_plainly(stream, x, w, y);
  }

 private:
  std::unique_ptr<LibraryProducts> library_;
};

}  // namespace ernie_image::cuda
