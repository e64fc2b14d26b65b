// One run of the pipeline as the commands make it: progress, cancellation, files.
#pragma once

#include <string>

#include "common/image_record.h"
#include "common/interrupt.h"
#include "ernie_image/pipeline.h"

namespace ernie_image {

/// Runs with a progress bar (if `show_progress`) that Ctrl-C can stop.
Result generate_with_progress(Pipeline& pipeline, Request request, const InterruptGuard& interrupt,
                              bool show_progress);

/// Encodes by the extension of `path` and writes the file whole or not at all.
void write_image(const std::string& path, const Image& image, int quality,
                 const ImageMetadata& metadata);

/// Returns false, and writes nothing, if `path` is there already.
bool write_new_png(const std::string& path, const Image& image, const ImageMetadata& metadata);

/// To standard output.
void print_png(const Image& image, const ImageMetadata& metadata);

}  // namespace ernie_image
