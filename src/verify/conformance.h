// The conformance suite: what every backend has to compute, operation by operation, and how
// closely. The tests run it on the devices at hand, `ernie-image devices --verify` on the user's.
#pragma once

#include <span>
#include <string>

#include "verify/verifier.h"

namespace ernie_image::verify {

struct ConformanceCase {
  const char* operation;  ///< as in backend.h
  const char* behaviour;  ///< UpperCamel, names what is checked
  void (*run)(Verifier&);
  bool f32_only = false;  ///< what is checked has no meaning in bf16
};

/// A table a subject; each is written in a file of its own.
std::span<const ConformanceCase> linear_cases();
std::span<const ConformanceCase> norm_cases();
std::span<const ConformanceCase> attention_cases();
std::span<const ConformanceCase> elementwise_cases();
std::span<const ConformanceCase> layout_cases();
std::span<const ConformanceCase> convolution_cases();
std::span<const ConformanceCase> band_cases();

/// All of them.
std::vector<ConformanceCase> conformance_cases();

/// Runs one case. Whatever it throws is a failure with the message.
Outcome run_case(const ConformanceCase& conformance_case, Backend& ops, DType dtype,
                 GeluForm gelu = GeluForm::exact);

}  // namespace ernie_image::verify
