#include "common/image_record.h"

#include <cstdio>

#include <nlohmann/json.hpp>

#include "common/flags.h"
#include "common/json_fields.h"
#include "common/latents_file.h"
#include "common/limits.h"
#include "common/lora.h"
#include "common/precision_names.h"
#include "tokenizer/utf8.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;

/// Of an adapter its path is not kept: elsewhere it is another.
json adapters_json(const ImageRecord& record) {
  json adapters = json::array();
  for (std::size_t i = 0; i < record.adapters.size(); ++i) {
    const AdapterUse& use = record.adapters[i];
    json adapter = {{"name", replace_invalid_utf8(use.name)},
                    {"strength", use.strength},
                    {"sha256", use.sha256}};
    if (record.request.adapters[i].prompt >= 0)
      adapter["prompt"] = record.request.adapters[i].prompt;
    adapters.push_back(std::move(adapter));
  }
  return adapters;
}

json to_json(const ImageRecord& record) {
  const Request& request = record.request;
  json result = {
      {"format", kFormat},
      {"version", record.version},
      {"model", {{"name", record.model_name}, {"content_hash", record.model_content_hash}}},
      {"prompts", request.prompts},
      {"negative_prompts", request.negative_prompts},
      {"num_images_per_prompt", request.num_images_per_prompt},
      {"image_index", record.image_index},
      {"seeds", request.seeds},
      {"height", request.height_px},
      {"width", request.width_px},
      {"num_inference_steps", request.num_inference_steps},
      {"guidance_scale", request.guidance_scale.value()},
      {"dtype", precision_name(record.load.precision)},
      {"quantization", quantization_name(record.load.quantization)},
      {"device", record.load.device},
      {"cpu_kernels", record.load.cpu_kernels},
      {"memory_limit_bytes", record.load.memory_limit_bytes}};
  if (record.load.device != "cpu") {
    result["offload"] = record.load.offload;
    result["ascend_attention"] = record.load.ascend_attention;
  }
  if (!record.original_prompts.empty()) result["original_prompts"] = record.original_prompts;
  if (!record.adapters.empty()) result["adapters"] = adapters_json(record);
  if (!record.latents_sha256.empty()) result["latents_sha256"] = record.latents_sha256;
  return result;
}

std::string nine_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  return text;
}

std::string a1111_parameters(const ImageRecord& record) {
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
         ", Model: " + record.model_name + ", Version: ernie-image " + record.version;
}

Precision read_precision(const JsonFields& reader) {
  const auto precision = precision_from_name(reader.text("dtype"));
  if (!precision) reader.fail("dtype", "is neither fp32 nor bf16");
  return *precision;
}

/// Absent from the records of 0.1.0.
Quantization read_quantization(const JsonFields& reader) {
  if (!reader.has("quantization")) return Quantization::none;
  const auto quantization = quantization_from_name(reader.text("quantization"));
  if (!quantization) reader.fail("quantization", "is neither none, nor int8, nor int4");
  return *quantization;
}

Request read_request(const JsonFields& reader) {
  Request request;
  request.prompts = reader.texts("prompts", kMaxImages);
  if (request.prompts.empty()) reader.fail("prompts", "is empty");
  request.negative_prompts = reader.texts("negative_prompts", kMaxImages);
  const std::size_t negatives = request.negative_prompts.size();
  if (negatives > 1 && negatives != request.prompts.size()) {
    reader.fail("negative_prompts", "is neither none, nor one, nor one for each prompt");
  }
  const int images_each = kMaxImages / static_cast<int>(request.prompts.size());
  request.num_images_per_prompt = reader.small("num_images_per_prompt", 1, images_each);
  request.seeds = reader.seeds("seeds", kMaxImages);
  if (request.seeds.size() != 1 &&
      request.seeds.size() != static_cast<std::size_t>(image_count(request))) {
    reader.fail("seeds", "is neither one nor one for each image");
  }
  request.height_px = reader.small("height", 1, kMaxSidePx);
  request.width_px = reader.small("width", 1, kMaxSidePx);
  request.num_inference_steps = reader.small("num_inference_steps", 1, kMaxSteps);
  request.guidance_scale = reader.number("guidance_scale", 0, kMaxGuidanceScale);
  return request;
}

void read_adapters(const JsonFields& reader, ImageRecord& record) {
  constexpr int kMostOfAPrompt = 64;
  if (!reader.has("adapters")) return;
  for (const JsonFields& fields : reader.objects("adapters", kMostOfAPrompt * kMaxImages)) {
    AdapterUse use;
    use.name = fields.text("name");
    use.strength = fields.number("strength", -kMaxLoraStrength, kMaxLoraStrength);
    use.sha256 = fields.text("sha256");
    const int prompts = static_cast<int>(record.request.prompts.size());
    const int prompt = fields.has("prompt") ? fields.small("prompt", 0, prompts - 1) : -1;
    record.request.adapters.push_back({"", use.strength, prompt});
    record.adapters.push_back(std::move(use));
  }
}

ImageRecord read_record(const JsonFields& reader) {
  reader.integer("format", kFormat, kFormat);
  ImageRecord record;
  record.version = reader.text("version");
  const JsonFields model = reader.object("model");
  record.model_name = model.text("name");
  record.model_content_hash = model.text("content_hash");
  record.request = read_request(reader);
  record.image_index = reader.small("image_index", 0, image_count(record.request) - 1);
  record.load.precision = read_precision(reader);
  record.load.quantization = read_quantization(reader);
  record.load.device = reader.text("device");
  record.load.cpu_kernels = reader.text("cpu_kernels");
  if (reader.has("offload")) record.load.offload = reader.text("offload");
  if (reader.has("ascend_attention"))
    record.load.ascend_attention = reader.text("ascend_attention");
  record.load.memory_limit_bytes =
      static_cast<std::uint64_t>(reader.integer("memory_limit_bytes", 0, INT64_MAX));
  if (reader.has("original_prompts")) {
    record.original_prompts = reader.texts("original_prompts", kMaxImages);
    if (record.original_prompts.size() != record.request.prompts.size()) {
      reader.fail("original_prompts", "is not one for each prompt");
    }
  }
  read_adapters(reader, record);
  if (reader.has("latents_sha256")) record.latents_sha256 = reader.text("latents_sha256");
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
  record.load.cpu_kernels = kernels_used(load);
  record.request = request;
  if (!request.latents.empty()) record.latents_sha256 = latents_hash(request.latents);
  return record;
}

ImageMetadata image_metadata(const ImageRecord& record) {
  return {{kParametersChunk, a1111_parameters(record)}, {kRecordChunk, to_json(record).dump()}};
}

ImageRecord parse_image_record(const std::string& path, const std::string& text) {
  const std::string where = path + ": chunk " + kRecordChunk;
  return read_record(JsonFields::parse(text, where));
}

const std::string& prompt_of(const Request& request, int index) {
  return request.prompts[static_cast<std::size_t>(index / request.num_images_per_prompt)];
}

std::string negative_prompt_of(const Request& request, int index) {
  const auto& all = request.negative_prompts;
  if (all.empty()) return "";
  return all.size() == 1 ? all[0]
                         : all[static_cast<std::size_t>(index / request.num_images_per_prompt)];
}

std::uint64_t seed_of(const Request& request, int index) {
  return request.seeds.size() == 1 ? request.seeds[0]
                                   : request.seeds[static_cast<std::size_t>(index)];
}

int image_count(const Request& request) {
  return static_cast<int>(request.prompts.size()) * request.num_images_per_prompt;
}

}  // namespace ernie_image
