#include "common/latents_file.h"

#include "common/exit_code.h"
#include "core/tensor.h"
#include "io/safetensors.h"
#include "io/sha256.h"

namespace ernie_image {
namespace {

constexpr const char* kTensorName = "latents.initial";

[[noreturn]] void fail(const std::string& path, const std::string& problem) {
  throw Error(ErrorKind::invalid_argument, "--latents: " + path + ": " + kTensorName + problem);
}

Shape expected_shape(const Request& request, const ModelInfo& info) {
  const auto images =
      static_cast<std::int64_t>(request.prompts.size()) * request.num_images_per_prompt;
  return {images, info.latent_channels, request.height_px / info.size_multiple_px,
          request.width_px / info.size_multiple_px};
}

void check_shape(const std::string& path, const Shape& found, const Request& request,
                 const ModelInfo& info) {
  const bool has_valid_size = request.height_px % info.size_multiple_px == 0 &&
                              request.width_px % info.size_multiple_px == 0;
  if (!has_valid_size) return;  // the pipeline names the nearest valid sizes
  const Shape expected = expected_shape(request, info);
  if (found == expected) return;
  fail(path, " has shape " + to_string(found) + ", expected " + to_string(expected) +
                 " = [images, C, height / " + std::to_string(info.size_multiple_px) + ", width / " +
                 std::to_string(info.size_multiple_px) + "]; see --height, --width, --num-images");
}

}  // namespace

std::vector<float> read_latents(const std::string& path, const Request& request,
                                const ModelInfo& info) {
  const SafetensorsFile file =
      naming_flag("--latents", [&] { return SafetensorsFile::open(path); });
  if (!file.contains(kTensorName)) fail(path, " is missing");
  const Weight weight = file.weight(kTensorName);
  if (weight.dtype != DType::f32 && weight.dtype != DType::bf16 && weight.dtype != DType::f16) {
    fail(path, " is " + std::string(dtype_name(weight.dtype)) + ", expected F32, BF16 or F16");
  }
  check_shape(path, weight.shape, request, info);
  const Tensor latents = to_float(file.tensor(kTensorName));
  const std::span<const float> values = latents.span<float>();
  return {values.begin(), values.end()};
}

std::string latents_hash(const std::vector<float>& latents) {
  return sha256_hex(
      {reinterpret_cast<const char*>(latents.data()), latents.size() * sizeof(float)});
}

}  // namespace ernie_image
