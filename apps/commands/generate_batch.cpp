#include "commands/generate_batch.h"

#include <algorithm>
#include <filesystem>

#include "common/image_record.h"
#include "common/output_paths.h"
#include "common/text_input.h"
#include "io/image_file.h"
#include "request/request.h"

namespace ernie_image {
namespace {

/// What it began with, and what was done to that.
nlohmann::json beginning_of(const ImageRecord& record) {
  return record.picture.sha256.empty() ? nlohmann::json()
                                       : picture_use_json(record.picture, record.request.picture);
}

bool has_same_settings(const ImageRecord& record, const Request& wanted, const GenerateFlags& flags,
                       const ModelInfo& info, bool enhances) {
  ImageRecord expected = make_image_record(info, flags.load, wanted);
  expected.picture.handling = flags.picture.handling;
  const Request& made = record.request;
  const auto& prompts = record.original_prompts.empty() ? made.prompts : record.original_prompts;
  const auto same_adapter = [](const Adapter& a, const Adapter& b) {
    return a.strength == b.strength && a.prompt == b.prompt;
  };
  return record.model_content_hash == info.content_hash && prompts == wanted.prompts &&
         record.original_prompts.empty() != enhances &&
         negative_prompt_of(made) == negative_prompt_of(wanted) && made.seeds == wanted.seeds &&
         options_json(made) == options_json(wanted) &&
         beginning_of(record) == beginning_of(expected) &&
         std::ranges::equal(made.adapters, wanted.adapters, same_adapter) &&
         record.load.precision == flags.load.precision &&
         record.load.quantization == flags.load.quantization;
}

}  // namespace

std::vector<BatchPicture> read_batch(const GenerateFlags& flags) {
  std::vector<BatchPicture> pictures = parse_batch(read_text("--batch", flags.batch), flags);
  for (const BatchPicture& picture : pictures)
    require_writable(batch_line(flags.batch, picture.line) + ": output", picture.path);
  return pictures;
}

bool is_made(const BatchPicture& picture, const GenerateFlags& flags, const ModelInfo& info,
             bool enhances, const std::function<Request(const Request&)>& completed) {
  std::error_code ignored;
  if (flags.overwrite == true || !std::filesystem::exists(picture.path, ignored)) return false;
  const ImageMetadata metadata = read_image(picture.path).metadata;
  const auto record = metadata.find(kRecordChunk);
  // A JPEG may have no room for one.
  if (record == metadata.end() && image_format_of(picture.path) == ImageFormat::jpeg) return true;
  if (record != metadata.end() &&
      has_same_settings(parse_image_record(picture.path, record->second),
                        completed(picture.request), flags, info, enhances))
    return true;
  throw Error(ErrorKind::io, "--batch: line " + std::to_string(picture.line) + ": " + picture.path +
                                 " is there already, and was not made by this model with these "
                                 "settings; name another --output, or replace it with --overwrite");
}

}  // namespace ernie_image
