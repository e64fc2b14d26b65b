// What a conformance case works with: a backend, an activation dtype, random tensors, and a
// comparison that keeps the worst error seen.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/gelu.h"
#include "core/tensor.h"

namespace ernie_image::verify {

/// How far a result may be from the oracle's.
struct Tolerance {
  /// f32: |difference| <= f32 * max(1, |expected|).
  float f32;
  /// bf16: this share of the elements may differ at all. The oracle rounds a double, a backend a
  /// float that is wrong by some 1e-7 to 1e-6 of itself; the bf16 steps are 2^-8 apart, so about
  /// one value in a thousand lies close enough to the middle of a step to go the other way.
  double bf16_share = 0.003;
  /// bf16: and by no more than this many steps of max(1, |expected|): an intermediate value that
  /// went the other way is a whole step wrong.
  float bf16_steps = 1.0f;
  /// bf16: or else the mean squared difference may be this share of the mean square. For what a
  /// device may round on the way, so that many elements differ, each by little.
  double bf16_nmse = 0;
};

/// Where every operation of float is exact, or rounds as the oracle's double does.
inline constexpr Tolerance kExact = {.f32 = 0.0f, .bf16_share = 0.0, .bf16_steps = 0.0f};

/// What a case found.
struct Outcome {
  /// Largest |difference| / max(1, |expected|), and what the comparison it was seen in allows.
  double worst_error = 0;
  double limit = 0;
  std::int64_t comparisons = 0;
  /// What was wrong, in words; none for a pass.
  std::vector<std::string> failures;
};

class Verifier {
 public:
  Verifier(Backend& ops, DType dtype, GeluForm gelu = GeluForm::exact)
      : ops_(ops), dtype_(dtype), gelu_(gelu) {}

  Backend& ops() { return ops_; }
  DType dtype() const { return dtype_; }
  /// Which one the device has been told to compute.
  GeluForm gelu() const { return gelu_; }
  const Outcome& outcome() const { return outcome_; }

  /// Host tensors; uniform in [-magnitude, magnitude), of the activation dtype.
  Tensor random(Shape shape, float magnitude = 1.0f);
  Tensor random_f32(Shape shape, float low, float high);
  Tensor constant(Shape shape, float value) const;

  Tensor up(const Tensor& host) { return ops_.upload(host); }
  WeightHandle prepare(const Tensor& host, WeightUse use = WeightUse::vector,
                       Quantization quantization = Quantization::none);

  void expect_close(const Tensor& device, const Tensor& expected, const Tolerance& tolerance);
  /// Mean squared difference at most this share of the mean square of what was expected.
  void expect_near(const Tensor& device, const Tensor& expected, double nmse);
  void expect(bool right, const std::string& what);

 private:
  /// On the host; empty, and a failure, if its type or shape is not the expected one's.
  Tensor downloaded(const Tensor& device, const Tensor& expected);
  /// The comparison nearest to its limit is the one worth showing.
  void keep_worst(double error, double limit);
  void compare_values(const Tensor& actual, const Tensor& expected, const Tolerance& tolerance);

  Backend& ops_;
  DType dtype_;
  GeluForm gelu_;
  std::mt19937 generator_{42};
  Outcome outcome_;
};

}  // namespace ernie_image::verify
