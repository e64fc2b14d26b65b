#include "common/generation.h"

#include "common/progress_bar.h"
#include "io/atomic_file.h"
#include "io/image_file.h"

namespace ernie_image {

Request with_model_defaults(Request request, const ModelInfo& info) {
  if (request.height_px == 0) request.height_px = info.default_height_px;
  if (request.width_px == 0) request.width_px = info.default_width_px;
  if (request.num_inference_steps == 0) {
    request.num_inference_steps = info.default_num_inference_steps;
  }
  if (!request.guidance_scale) request.guidance_scale = info.default_guidance_scale;
  return request;
}

Result generate_with_progress(Pipeline& pipeline, Request request, const InterruptGuard& interrupt,
                              bool show_progress) {
  interrupt.token()->throw_if_requested();  // pressed while the model was loading
  ProgressBar bar(show_progress);
  request.on_progress = [&bar](const Progress& progress) { bar.show(progress); };
  request.cancel = interrupt.token();
  Result result = pipeline.generate(request);
  interrupt.token()->throw_if_requested();
  return result;
}

void write_image(const std::string& path, const Image& image, int quality,
                 const ImageMetadata& metadata) {
  const std::vector<std::uint8_t> bytes =
      encode_image(image, {image_format_of(path), quality}, metadata);
  write_file_atomically(path, std::as_bytes(std::span(bytes)));
}

}  // namespace ernie_image
