#include "adapters/low_rank.h"

#include <algorithm>

#include <Eigen/Dense>

namespace ernie_image {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Svd = Eigen::BDCSVD<Eigen::MatrixXf>;

constexpr std::int64_t kExactSize = 512;
constexpr std::int64_t kOversampling = 16;
constexpr int kIterations = 4;

Eigen::Map<const Matrix> matrix_of(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.dim(0), tensor.dim(1)};
}

Tensor tensor_of(const Eigen::MatrixXf& matrix) {
  Tensor tensor = Tensor::host(DType::f32, {matrix.rows(), matrix.cols()});
  Eigen::Map<Matrix>(tensor.data<float>(), matrix.rows(), matrix.cols()) = matrix;
  return tensor;
}

/// An orthonormal basis of the columns.
Eigen::MatrixXf basis_of(const Eigen::MatrixXf& matrix) {
  const Eigen::Index columns = std::min(matrix.rows(), matrix.cols());
  const Eigen::HouseholderQR<Eigen::MatrixXf> qr(matrix);
  return qr.householderQ() * Eigen::MatrixXf::Identity(matrix.rows(), columns);
}

/// The same on every machine: a start that has something of every direction.
Eigen::MatrixXf start_of(Eigen::Index rows, Eigen::Index columns) {
  Eigen::MatrixXf start(rows, columns);
  std::uint64_t state = 0x9e3779b97f4a7c15u;
  for (Eigen::Index j = 0; j < columns; ++j) {
    for (Eigen::Index i = 0; i < rows; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      start(i, j) = static_cast<float>(state >> 40) / static_cast<float>(1 << 23) - 1.0f;
    }
  }
  return start;
}

/// `left` (the first `rank` vectors times the roots of the values) and so on; `square` is the
/// squared length of the whole matrix.
LowRankMatrix truncated(const Eigen::MatrixXf& left, const Eigen::VectorXf& values,
                        const Eigen::MatrixXf& right, std::int64_t rank, double square) {
  const Eigen::Index r = std::min<Eigen::Index>(rank, values.size());
  const Eigen::VectorXf roots = values.head(r).cwiseSqrt();
  LowRankMatrix result;
  result.up = tensor_of(left.leftCols(r) * roots.asDiagonal());
  result.down = tensor_of(roots.asDiagonal() * right.leftCols(r).transpose());
  const double kept = values.head(r).cast<double>().squaredNorm();
  result.kept = square > 0 ? std::min(1.0, kept / square) : 1;
  result.largest = values.size() > 0 ? static_cast<double>(values[0]) : 0;
  return result;
}

}  // namespace

LowRankMatrix low_rank_of(const Tensor& tensor, std::int64_t wanted) {
  const auto matrix = matrix_of(tensor);
  const std::int64_t smaller = std::min(tensor.dim(0), tensor.dim(1));
  const std::int64_t rank = std::min(wanted, smaller);
  const double square = matrix.cast<double>().squaredNorm();
  constexpr unsigned kThin = Eigen::ComputeThinU | Eigen::ComputeThinV;
  if (smaller <= kExactSize || rank + kOversampling >= smaller) {
    const Svd svd(matrix, kThin);
    return truncated(svd.matrixU(), svd.singularValues(), svd.matrixV(), rank, square);
  }
  Eigen::MatrixXf basis = basis_of(matrix * start_of(matrix.cols(), rank + kOversampling));
  for (int i = 0; i < kIterations; ++i)
    basis = basis_of(matrix * basis_of(matrix.transpose() * basis));
  const Svd svd(basis.transpose() * matrix, kThin);
  return truncated(basis * svd.matrixU(), svd.singularValues(), svd.matrixV(), rank, square);
}

LowRankMatrix low_rank_of_product(const Tensor& up, const Tensor& down, std::int64_t rank) {
  const Eigen::MatrixXf left = matrix_of(up), right = matrix_of(down).transpose();
  const Eigen::MatrixXf left_basis = basis_of(left), right_basis = basis_of(right);
  const Eigen::MatrixXf core =
      (left_basis.transpose() * left) * (right_basis.transpose() * right).transpose();
  const Svd svd(core, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const double square = core.cast<double>().squaredNorm();
  return truncated(left_basis * svd.matrixU(), svd.singularValues(), right_basis * svd.matrixV(),
                   std::min<std::int64_t>(rank, core.rows()), square);
}

}  // namespace ernie_image
