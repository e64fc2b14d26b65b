// Which of its two forms GELU has: an option of every device.
#pragma once

#include "backend/device.h"
#include "ernie_image/error.h"

namespace ernie_image {

enum class GeluForm {
  exact,  ///< x/2 (1 + erf(x / sqrt 2)), which the models were trained with
  tanh,   ///< x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), which torch_npu computes for it
};

/// --gelu
inline DeviceOption gelu_option() {
  return {.name = "gelu",
          .values = {"exact", "tanh"},
          .help =
              "GELU of the transformer: exact (default), or the tanh form, as the reference "
              "computes it on Ascend NPUs",
          .records_default = false};
}

/// Throws Error(invalid_argument).
inline GeluForm gelu_form(const std::string& text) {
  if (text == "exact") return GeluForm::exact;
  if (text == "tanh") return GeluForm::tanh;
  throw Error(ErrorKind::invalid_argument, "--gelu: \"" + text + "\" is none of exact, tanh");
}

}  // namespace ernie_image
