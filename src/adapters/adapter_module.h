// What one adapter does to one module: factors, scale, magnitude, bias, checked against the module.
//
//   LoRA    D = up down                      scale alpha / r
//   LoKr    D = kron(w1, w2)                 alpha / r of the factored w2, else of the factored w1;
//                                            1 if both are whole, but for PEFT's
//   LoHa    D = (w1_a w1_b) * (w2_a w2_b)    alpha / r
//   full    D = difference, or replacement - W
//   table   D = (up down)^T of an embedding  alpha / r
// and V = W + scale D. With a magnitude (DoRA) V becomes magnitude V / |V|, by rows or columns. An
// adapter of strength t changes W by t (V - W), whatever its kind, so that several add.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "adapters/adapter_config.h"
#include "adapters/adapter_key.h"
#include "adapters/module_table.h"
#include "core/weight.h"

namespace ernie_image {

class AdapterModule {
 public:
  enum class Kind { low_rank, kronecker, hadamard, full, table, bias_only };
  enum class Norm { none, rows, columns };
  using Parts = std::map<AdapterPart, Weight>;  ///< names are the file's keys

  /// `config` may be null. Throws Error(corrupt_file) naming `file`, the key, what was found and
  /// what was expected; Error(unsupported).
  AdapterModule(const std::string& file, const Module& module, Parts parts,
                const AdapterConfig* config, bool is_peft);

  const Module& module() const { return module_; }
  Kind kind() const { return kind_; }
  Norm norm() const { return norm_; }
  double scale() const { return scale_; }
  /// Of LoRA's, LoHa's and the factored one of LoKr's; 0 for none.
  std::int64_t rank() const { return rank_; }
  /// As matrices: [N, K] whatever trailing ones the file has. Null for none.
  const Weight* part(AdapterPart part) const;
  const Parts& parts() const { return parts_; }
  bool changes_weight() const { return kind_ != Kind::bias_only; }
  bool changes_bias() const;

  /// Rows [begin, begin + count) of D, f32 [count, K]; `base` are those rows of W.
  void difference_rows(std::int64_t begin, std::int64_t count, const float* base,
                       float* target) const;

  /// magnitude / |W + scale D| of every row or column; 1 for a length of zero. `base` is W. Reads
  /// all of it.
  std::vector<float> gains(const Weight& base) const;

  /// Adds strength (V - W) to `target`, rows [begin, begin + count) of a weight; `base` are those
  /// of W. `gains` are those above, or empty.
  void add_rows(double strength, const std::vector<float>& gains, std::int64_t begin,
                std::int64_t count, const float* base, float* target) const;

  /// Adds what the adapter does to the bias to `bias` [N].
  void add_to_bias(double strength, float* bias) const;

 private:
  struct Builder;
  [[noreturn]] void fail(const std::string& problem) const;
  void set_low_rank();
  void set_kronecker(const AdapterConfig* config, bool is_peft);
  void set_hadamard();
  void set_full();
  void set_table();
  void set_magnitude();
  void check_biases();
  const Weight& require(AdapterPart part, const char* what) const;
  void require_shape(AdapterPart part, const Shape& expected) const;
  double scale_of(const AdapterConfig* config) const;

  std::string file_;
  Module module_;
  Parts parts_;
  Kind kind_ = Kind::bias_only;
  Norm norm_ = Norm::none;
  double scale_ = 1;
  std::int64_t rank_ = 0;
};

/// Host f32 [M, N] of a [M, R] and b [R, N].
Tensor matrix_product(const Tensor& a, const Tensor& b);

/// The two factors of LoKr as host f32 matrices: w1 [a, b], w2 [c, d].
struct KroneckerFactors {
  Tensor outer;
  Tensor inner;
};
KroneckerFactors kronecker_factors(const AdapterModule& module);

/// LoHa as one product of low rank: column (p, q) of `up` [N, r1 r2] is w1_a[:, p] * w2_a[:, q],
/// row (p, q) of `down` [r1 r2, K] is w1_b[p, :] * w2_b[q, :].
struct LowRankFactors {
  Tensor down;
  Tensor up;
};
LowRankFactors hadamard_factors(const AdapterModule& module);

}  // namespace ernie_image
