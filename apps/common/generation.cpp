#include "common/generation.h"

#include "common/console.h"
#include "common/progress_bar.h"
#include "io/atomic_file.h"
#include "io/image_file.h"

namespace ernie_image {

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

bool write_new_png(const std::string& path, const Image& image, const ImageMetadata& metadata) {
  const std::vector<std::uint8_t> bytes = encode_image(image, {}, metadata);
  return write_new_file_atomically(path, std::as_bytes(std::span(bytes)));
}

void print_png(const Image& image, const ImageMetadata& metadata) {
  const std::vector<std::uint8_t> bytes = encode_image(image, {}, metadata);
  print({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace ernie_image
