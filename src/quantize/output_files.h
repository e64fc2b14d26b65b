// Which files a quantised model folder will hold, known before any is written.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/weight.h"
#include "ernie_image/precision.h"
#include "io/model_folder.h"
#include "io/safetensors_writer.h"
#include "io/weight_files.h"

namespace ernie_image {

/// Whom a quantised folder is for.
enum class QuantizeTarget {
  any,     ///< packed_weight.h, which the CPU multiplies where it is mapped
  ascend,  ///< row_codes.h, which an Ascend card copies and multiplies
};

/// A tensor of a shard: quantised if `format` says so, else as the source has it.
struct OutputTensor {
  TensorEntry entry;
  WeightFormat format = WeightFormat::plain;  ///< encoded: as row_codes.h has it
  const TensorFile* file = nullptr;           ///< of the source

  const Weight& source() const { return file->stored(entry.name); }
};

struct OutputFile {
  enum class Kind {
    copy,   ///< of `source`
    link,   ///< to `source`, which is large, where the file system can
    shard,  ///< weights
    text,   ///< `content`
  };
  Kind kind = Kind::copy;
  std::string name;  ///< below the folder: "vae/config.json"
  std::string source;
  std::string content;
  std::vector<OutputTensor> tensors;
  std::map<std::string, std::string> metadata;
  std::uint64_t source_bytes = 0;  ///< to read
  std::uint64_t bytes = 0;         ///< to write, without a shard's header
};

struct OutputFiles {
  std::vector<OutputFile> files;  ///< in the order of writing; model_index.json comes last
  /// The mapped source, which the tensors point into.
  std::vector<std::unique_ptr<WeightFiles>> weights;

  std::uint64_t source_bytes() const;
  std::size_t packed_tensors() const;
};

/// `components`: those to be quantised, of text_encoder, transformer and pe. Throws Error if the
/// source lacks one of them, or is quantised already.
OutputFiles list_output_files(const ModelFolder& source, const std::set<std::string>& components,
                              Quantization quantization, QuantizeTarget target,
                              std::uint64_t max_shard_bytes);

}  // namespace ernie_image
