#include "verify/conformance.h"

#include <exception>

namespace ernie_image::verify {

std::vector<ConformanceCase> conformance_cases() {
  std::vector<ConformanceCase> all;
  for (const auto cases : {linear_cases(), norm_cases(), attention_cases(), elementwise_cases(),
                           layout_cases(), convolution_cases(), band_cases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

Outcome run_case(const ConformanceCase& conformance_case, Backend& ops, DType dtype,
                 GeluForm gelu) {
  Verifier verifier(ops, dtype, gelu);
  try {
    conformance_case.run(verifier);
  } catch (const std::exception& error) {
    verifier.expect(false, error.what());
  }
  return verifier.outcome();
}

}  // namespace ernie_image::verify
