#include "nn/linear.h"

#include "ernie_image/error.h"

namespace ernie_image {

bool is_quantised(const Weight& weight) {
  if (weight.format == WeightFormat::encoded) return weight.decoder->row_codes().has_value();
  return is_packed(weight.format);
}

void check_packed(const Weight& weight, WeightUse use, Quantization quantization) {
  const std::string found(format_name(weight.format));
  if (use != WeightUse::linear) {
    throw Error(ErrorKind::corrupt_file,
                weight.name + " " + to_string(weight.shape) + " is packed as " + found +
                    ", which only linear layers may be; quantise the model again");
  }
  if (quantization == Quantization::none || weight_format(quantization) == weight.format) return;
  throw Error(ErrorKind::invalid_argument,
              weight.name + " is quantised to " + found + " in its file and cannot become " +
                  std::string(format_name(weight_format(quantization))) +
                  "; run without --quant and --pe-quant, or with the model that this one was "
                  "made from");
}

}  // namespace ernie_image
