// A Huawei Ascend NPU as a Backend, through CANN's AscendCL and aclnn.
#pragma once

#include <memory>
#include <string>

#include "backend/device.h"

namespace ernie_image {

struct AscendOptions {
  int device = 0;
  std::string attention = "auto";    ///< ascend::kAttentionForms: ascend/attention.h
  std::string offload = "auto";      ///< auto, none, encoder, layers: card/weights.h
  std::string gelu = "exact";        ///< exact, tanh: gelu.h
  std::string convolution = "fp32";  ///< fp32, hf32: how products of an fp32 run are computed
  std::string int8 = "nd";           ///< nd, nz: how weights of int8 are laid out
};

/// Throws Error(not_found) without CANN or without that card, Error(invalid_argument) for an option
/// that is none.
std::unique_ptr<Backend> make_ascend_backend(const AscendOptions& options = {});

/// Cards, libraries and operations of CANN, or why there are none.
DeviceInfo ascend_info();

const DeviceKind& ascend_device();

}  // namespace ernie_image
