#include "common/image_record.h"

#include <cstdio>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "backend/registry.h"
#include "common/flags.h"
#include "common/latents_file.h"
#include "core/enum_names.h"
#include "io/json_reader.h"
#include "request/request.h"
#include "tokenizer/utf8.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr std::size_t kMaxOptions = 32;
constexpr std::size_t kMaxOptionBytes = 64;

/// The request. Of an adapter not its path is kept, which elsewhere is another, but name and hash.
json request_json(const ImageRecord& record) {
  Request request = record.request;
  for (std::size_t i = 0; i < record.adapters.size(); ++i)
    request.adapters[i].path = replace_invalid_utf8(record.adapters[i].name);
  json result = request_json(request);
  for (std::size_t i = 0; i < record.adapters.size(); ++i)
    result["adapters"][i]["sha256"] = record.adapters[i].sha256;
  return result;
}

json to_json(const ImageRecord& record) {
  json result = request_json(record);
  result.update(
      {{"format", kFormat},
       {"version", record.version},
       {"model", {{"name", record.model_name}, {"content_hash", record.model_content_hash}}},
       {"dtype", name_of(record.load.precision)},
       {"quantization", name_of(record.load.quantization)},
       {"device", record.load.device},
       {"cpu_kernels", record.load.cpu_kernels},
       {"memory_limit_bytes", record.load.memory_limit_bytes},
       {"image_index", record.image_index}});
  if (!record.load.device_options.empty()) result["device_options"] = record.load.device_options;
  if (!record.model_path.empty()) {
    const ModelParts& parts = record.load.parts;
    json files = {{"model", record.model_path}};
    for (const auto& [key, value] : {std::pair{"base", parts.base},
                                     {"transformer", parts.transformer},
                                     {"text_encoder", parts.text_encoder},
                                     {"vae", parts.vae},
                                     {"pe", parts.pe},
                                     {"tokenizer", parts.tokenizer}}) {
      if (!value.empty()) files[key] = replace_invalid_utf8(value);
    }
    result["files"] = files;
  }
  if (!record.original_prompts.empty()) result["original_prompts"] = record.original_prompts;
  if (!record.picture.sha256.empty())
    result["image"] = picture_use_json(record.picture, record.request.picture);
  if (!record.latents_sha256.empty()) result["latents_sha256"] = record.latents_sha256;
  return result;
}

std::string nine_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  return text;
}

/// Of variations, second runs, and pictures to begin with, as A1111 writes them; or empty.
std::string further_settings(const ImageRecord& record) {
  const Request& request = record.request;
  std::string text;
  if (request.variation_strength.value_or(0) > 0) {
    const auto& seeds = request.variation_seeds;
    const auto index = static_cast<std::size_t>(record.image_index);
    text += ", Variation seed: " + std::to_string(seeds[seeds.size() == 1 ? 0 : index]) +
            ", Variation seed strength: " + nine_digits(*request.variation_strength);
  }
  if (wants_hires(request)) {
    text +=
        ", Denoising strength: " + nine_digits(request.hires_strength.value_or(kHiresStrength)) +
        (request.hires_scale ? ", Hires upscale: " + nine_digits(*request.hires_scale)
                             : ", Hires resize: " + std::to_string(request.hires_width_px) + "x" +
                                   std::to_string(request.hires_height_px));
  } else if (!record.picture.sha256.empty()) {
    text += ", Denoising strength: " + nine_digits(request.picture.strength);
  }
  const double blur_px = record.picture.handling.mask_blur_px;
  return text + (blur_px > 0 ? ", Mask blur: " + nine_digits(blur_px) : "");
}

/// As A1111 writes a value: in JSON's quotes if it would not be read back as one.
std::string quoted_value(const std::string& value) {
  return value.find_first_of(",:\n") == std::string::npos ? value : json(value).dump();
}

/// Of any build: whether a device has such options, and such values of them, is asked when it is
/// made. Earlier records have them beside the other members, and the one of Ascend for all cards.
DeviceOptions read_device_options(const JsonReader& reader, const std::string& device) {
  DeviceOptions options;
  if (reader.has("offload")) options["offload"] = reader.limited_text("offload", kMaxOptionBytes);
  if (reader.has("ascend_attention") && device.starts_with("ascend"))
    options["ascend_attention"] = reader.limited_text("ascend_attention", kMaxOptionBytes);
  if (!reader.has("device_options")) return options;
  const JsonReader given = reader.required_object("device_options");
  if (given.value().size() > kMaxOptions)
    reader.fail("device_options", "at most " + std::to_string(kMaxOptions) + " options");
  for (const auto& member : given.value().items())
    options[member.key()] = given.limited_text(member.key(), kMaxOptionBytes);
  return options;
}

/// Their hashes, and names in place of paths: no name is a path.
void read_adapter_hashes(const JsonReader& reader, ImageRecord& record) {
  for (const JsonReader& fields : reader.objects("adapters")) {
    Adapter& adapter = record.request.adapters[record.adapters.size()];
    AdapterUse use;
    use.name = std::exchange(adapter.path, "");
    use.sha256 = fields.text("sha256");
    use.strength = adapter.strength;
    record.adapters.push_back(std::move(use));
  }
}

ImageRecord read_record(const JsonReader& reader) {
  reader.integer("format", kFormat, kFormat);
  ImageRecord record;
  record.version = reader.text("version");
  const JsonReader model = reader.required_object("model");
  record.model_name = model.text("name");
  record.model_content_hash = model.text("content_hash");
  record.request = read_request(reader);
  record.image_index = reader.small("image_index", 0, image_count(record.request) - 1);
  record.load.precision = reader.choice<Precision>("dtype");
  // Absent from the records of the first version, as others below.
  record.load.quantization = reader.choice("quantization", record.load.quantization);
  record.load.device = reader.text("device");
  record.load.cpu_kernels = reader.text("cpu_kernels");
  record.load.device_options = read_device_options(reader, record.load.device);
  if (reader.has("files")) {
    const JsonReader files = reader.required_object("files");
    const auto text = [&](const char* key) { return files.text(key, ""); };
    record.model_path = files.text("model");
    record.load.parts = {text("base"), text("transformer"), text("text_encoder"),
                         text("vae"),  text("pe"),          text("tokenizer")};
  }
  record.load.memory_limit_bytes =
      static_cast<std::uint64_t>(reader.integer("memory_limit_bytes", 0, INT64_MAX));
  if (reader.has("original_prompts")) {
    record.original_prompts = reader.texts("original_prompts", kMaxImages);
    if (record.original_prompts.size() != record.request.prompts.size()) {
      reader.fail("original_prompts", "one for each prompt");
    }
  }
  if (const std::optional<JsonReader> picture = reader.object("image"))
    record.picture = read_picture_use(*picture, record.request.picture);
  read_adapter_hashes(reader, record);
  record.latents_sha256 = reader.text("latents_sha256", "");
  return record;
}

}  // namespace

ImageRecord make_image_record(const ModelInfo& info, const LoadOptions& load,
                              const Request& request) {
  ImageRecord record;
  record.version = version();
  record.model_name = replace_invalid_utf8(info.name);
  record.model_content_hash = info.content_hash;
  record.load = load;
  record.load.parts = info.parts;
  if (info.parts != ModelParts{}) record.model_path = replace_invalid_utf8(info.path);
  record.load.cpu_kernels = kernels_used(load);
  record.load.device_options = options_of_device(load.device, load.device_options);
  for (const DeviceOption& option : device_kind(load.device).options) {
    const auto found = record.load.device_options.find(option.name);
    if (!option.records_default && found->second == option.values.front())
      record.load.device_options.erase(found);
  }
  record.request = request;
  if (!request.picture.image.rgb.empty())
    record.picture.sha256 = picture_hash(request.picture.image);
  if (!request.picture.mask.empty()) record.picture.mask_sha256 = mask_hash(request.picture);
  if (!request.latents.empty()) record.latents_sha256 = latents_hash(request.latents);
  return record;
}

std::string infotext_of(const ImageRecord& record) {
  const Request& request = record.request;
  const std::string negative = negative_prompt_of(request, record.image_index);
  std::string text = prompt_of(request, record.image_index);
  for (std::size_t i = 0; i < record.adapters.size(); ++i) {
    const int only = request.adapters[i].prompt;
    if (only >= 0 && only != record.image_index / request.num_images_per_prompt) continue;
    const AdapterUse& use = record.adapters[i];
    text += " <lora:" + replace_invalid_utf8(use.name) + ":" + nine_digits(use.strength) + ">";
  }
  text += "\n";
  if (!negative.empty()) text += "Negative prompt: " + negative + "\n";
  return text + "Steps: " + std::to_string(request.num_inference_steps) +
         ", Sampler: Euler, CFG scale: " + nine_digits(request.guidance_scale.value()) +
         ", Seed: " + std::to_string(seed_of(request, record.image_index)) +
         ", Size: " + std::to_string(request.width_px) + "x" + std::to_string(request.height_px) +
         further_settings(record) + ", Model: " + quoted_value(record.model_name) +
         ", Version: ernie-image " + record.version;
}

// ASCII alone in the JSON: it stays a tEXt chunk, which programs keep that lose or damage UTF-8.
ImageMetadata image_metadata(const ImageRecord& record) {
  return {{kParametersChunk, infotext_of(record)},
          {kRecordChunk, to_json(record).dump(-1, ' ', true)}};
}

ImageRecord parse_image_record(const std::string& path, const std::string& text) {
  const std::string where = path + ": chunk " + kRecordChunk;
  return read_record(JsonReader::parse(text, where));
}

}  // namespace ernie_image
