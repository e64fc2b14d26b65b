// How a picture was made: written into its file, and read back to make it again.
#pragma once

#include <string>
#include <vector>

#include "common/picture_input.h"
#include "ernie_image/pipeline.h"
#include "io/image_file.h"

namespace ernie_image {

struct ImageRecord {
  std::string version;
  std::string model_name;
  std::string model_content_hash;
  std::string model_path;  ///< of a model put together from files, which no name finds; or empty
  /// cpu_kernels is never "auto" here, device_options are all of the device, `parts` are as given;
  /// `model` is kept by its name and hash, `num_threads` not at all.
  LoadOptions load;
  /// The whole batch, with every default filled in: one generator draws the noise of all its
  /// images.
  Request request;
  /// What the user asked for, where `request.prompts` are what the enhancer made of it; else empty.
  std::vector<std::string> original_prompts;
  int image_index = 0;  ///< which image of the batch this one is
  /// Those of `request.adapters`, in their order: found again by their hashes.
  std::vector<AdapterUse> adapters;
  std::string latents_sha256;  ///< of given latents (`latents_hash`), which are not kept; or empty
  PictureUse picture;          ///< of the request's
};

/// The record of the first image; `request` must have every default filled in.
ImageRecord make_image_record(const ModelInfo& info, const LoadOptions& load,
                              const Request& request);

/// How the picture `record.image_index` was made, as the A1111 web UI writes it.
std::string infotext_of(const ImageRecord& record);

/// The two text chunks of the picture `record.image_index`.
ImageMetadata image_metadata(const ImageRecord& record);

/// The JSON of an `ernie_image` chunk; hostile input. Throws Error(corrupt_file) naming `path` and
/// what is wrong.
ImageRecord parse_image_record(const std::string& path, const std::string& json);

}  // namespace ernie_image
