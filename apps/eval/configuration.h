// What an evaluation compares: a way to load a model, written as "bf16" or
// "dtype=bf16,quant=int8,device=cpu,kernels=avx2,threads=2,model=DIR,threshold=1.0".
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ernie_image/pipeline.h"

namespace ernie_image {

struct Configuration {
  std::string label;  ///< as it was written
  LoadOptions load;
  std::optional<double> threshold_nmse_percent;  ///< its own, instead of --threshold-nmse
};

/// One line on the form of a SPEC, for --help.
inline constexpr const char* kSpecHelp =
    "fp32, bf16, or KEY=VALUE,... with dtype, quant, device, offload, attention, kernels, threads, "
    "model, threshold";

/// What `text` leaves open is taken from `defaults`. Throws Error(invalid_argument) naming `flag`
/// and the part that is wrong.
Configuration parse_configuration(const std::string& flag, const std::string& text,
                                  const LoadOptions& defaults);

/// The label as a part of a file name: other characters than letters, digits, ".", "_" and "-"
/// become "-".
std::string file_name_of(const std::string& label);

}  // namespace ernie_image
