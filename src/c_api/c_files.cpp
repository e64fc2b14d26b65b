// Results, texts, tokenizers, pictures on disk.
#include <cmath>
#include <limits>

#include "c_api/c_error.h"
#include "c_api/c_request.h"
#include "c_api/objects.h"
#include "c_api/sized_struct.h"
#include "core/enum_names.h"
#include "io/image_file.h"
#include "io/model_folder.h"
#include "metrics/image_metrics.h"
#include "quantize/quantize_model.h"

namespace ernie_image::c_api {
namespace {

/// Of metadata that a hostile file may have.
constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;

const Image& image_at(const ResultObject& result, std::size_t index) {
  if (index < result.images.size()) return result.images[index];
  throw Error(ErrorKind::invalid_argument,
              "there is no image " + std::to_string(index) + ": the result has " +
                  std::to_string(result.images.size()) + ", counted from 0");
}

Tokenizer open_tokenizer(const std::string& model) {
  if (model.ends_with(".json")) return Tokenizer::open_file(model);
  return Tokenizer::open(resolve_model(model).component("tokenizer"));
}

std::set<std::string> read_components(const ernie_image_quantize_options& c) {
  constexpr std::size_t kMost = 3;
  if (c.component_count == 0) return {"transformer"};
  const auto names = read_texts(c.components, c.component_count, kMost, "components");
  for (const std::string& name : names) {
    if (name != "transformer" && name != "text_encoder" && name != "pe") {
      throw Error(ErrorKind::invalid_argument,
                  "\"" + name + "\" cannot be quantised; transformer, text_encoder and pe can");
    }
  }
  return {names.begin(), names.end()};
}

QuantizeRequest read_quantize_options(const ernie_image_quantize_options& c) {
  QuantizeRequest request;
  if (c.model == nullptr || c.output == nullptr) {
    throw Error(ErrorKind::invalid_argument,
                c.model == nullptr ? "the model is NULL" : "the output is NULL");
  }
  const auto quantization = from_name<Quantization>(text_or(c.quantization, "int8"));
  if (!quantization.has_value() || *quantization == Quantization::none) {
    throw Error(ErrorKind::invalid_argument,
                "the quantization \"" + text_or(c.quantization) + "\" is neither int8 nor int4");
  }
  request.quantization = *quantization;
  request.components = read_components(c);
  if (c.max_shard_bytes != 0) request.max_shard_bytes = c.max_shard_bytes;
  request.num_threads = read_count(c.num_threads, 1024, "the number of threads");
  request.force = c.force != 0;
  request.source = resolve_model(c.model);
  request.output = c.output;
  if (c.on_progress != nullptr) {
    request.on_progress = [c](const QuantizeProgress& progress) {
      if (c.on_progress(c.user_data, progress.bytes, progress.all_bytes) != 0)
        throw Error(ErrorKind::cancelled, "cancelled");
    };
  }
  return request;
}

}  // namespace
}  // namespace ernie_image::c_api

using namespace ernie_image;
using namespace ernie_image::c_api;

size_t ernie_image_result_count(const ernie_image_result* result) {
  const auto object = find_handle<ResultObject>(result);
  return object == nullptr ? 0 : object->images.size();
}

ernie_image_status ernie_image_result_image(const ernie_image_result* result, size_t index,
                                            ernie_image_image* image, ernie_image_error** error) {
  return guarded_status(error, [&] {
    const Image& found = image_at(*open_handle<ResultObject>(result, "result"), index);
    write_struct(ernie_image_image{sizeof(ernie_image_image), found.height_px, found.width_px,
                                   found.rgb.data()},
                 image, "image");
  });
}

const float* ernie_image_result_latents(const ernie_image_result* result, int64_t shape[4]) {
  const auto object = find_handle<ResultObject>(result);
  if (object == nullptr || object->latents.empty()) return nullptr;
  if (shape != nullptr) std::ranges::copy(object->shape, shape);
  return object->latents.data();
}

const char* ernie_image_result_json(const ernie_image_result* result) {
  const auto object = find_handle<ResultObject>(result);
  return object == nullptr ? "{}" : object->json.c_str();
}

ernie_image_status ernie_image_result_save(const ernie_image_result* result, size_t index,
                                           const char* path, ernie_image_error** error) {
  return guarded_status(error, [&] {
    const auto object = open_handle<ResultObject>(result, "result");
    if (path == nullptr) throw Error(ErrorKind::invalid_argument, "the path is NULL");
    save_image(path, image_at(*object, index));
  });
}

void ernie_image_result_free(ernie_image_result* result) { close_object(result); }

const char* ernie_image_text_get(const ernie_image_text* text) {
  const auto object = find_handle<TextObject>(text);
  return object == nullptr ? "" : object->text.c_str();
}

int32_t ernie_image_text_is_finished(const ernie_image_text* text) {
  const auto object = find_handle<TextObject>(text);
  return object != nullptr && object->finished ? 1 : 0;
}

void ernie_image_text_free(ernie_image_text* text) { close_object(text); }

ernie_image_tokenizer* ernie_image_tokenizer_open(const char* model, ernie_image_error** error) {
  return guarded(error, static_cast<ernie_image_tokenizer*>(nullptr), [&] {
    return new_handle<ernie_image_tokenizer>(
        std::make_shared<TokenizerObject>(c_api::open_tokenizer(text_or(model))));
  });
}

int64_t ernie_image_tokenizer_encode(const ernie_image_tokenizer* tokenizer, const char* text,
                                     int32_t* ids, size_t capacity, ernie_image_error** error) {
  return guarded(error, int64_t{-1}, [&] {
    const auto object = open_handle<TokenizerObject>(tokenizer, "tokenizer");
    if (text == nullptr || (ids == nullptr && capacity != 0)) {
      throw Error(ErrorKind::invalid_argument,
                  text == nullptr ? "the text is NULL" : "there is room for ids, and it is NULL");
    }
    const std::vector<std::int32_t> encoded = object->tokenizer.encode(text);
    std::copy_n(encoded.begin(), std::min(capacity, encoded.size()), ids);
    return static_cast<int64_t>(encoded.size());
  });
}

ernie_image_text* ernie_image_tokenizer_decode(const ernie_image_tokenizer* tokenizer,
                                               const int32_t* ids, size_t count,
                                               ernie_image_error** error) {
  return guarded(error, static_cast<ernie_image_text*>(nullptr), [&] {
    const auto object = open_handle<TokenizerObject>(tokenizer, "tokenizer");
    const auto read = read_numbers(ids, count, "ids");
    return new_handle<ernie_image_text>(
        std::make_shared<TextObject>(object->tokenizer.decode(read, true)));
  });
}

void ernie_image_tokenizer_free(ernie_image_tokenizer* tokenizer) { close_object(tokenizer); }

ernie_image_result* ernie_image_read_image(const char* path, ernie_image_error** error) {
  return guarded(error, static_cast<ernie_image_result*>(nullptr), [&] {
    if (path == nullptr) throw Error(ErrorKind::invalid_argument, "the path is NULL");
    const auto result = std::make_shared<ResultObject>();
    result->images.push_back(read_image(path).image);
    return new_handle<ernie_image_result>(result);
  });
}

ernie_image_text* ernie_image_read_text(const char* path, const char* keyword,
                                        ernie_image_error** error) {
  return guarded(error, static_cast<ernie_image_text*>(nullptr), [&] {
    if (path == nullptr || keyword == nullptr) {
      throw Error(ErrorKind::invalid_argument,
                  path == nullptr ? "the path is NULL" : "the keyword is NULL");
    }
    const ImageMetadata metadata = read_image_metadata(open_file(path), kMaxTextBytes);
    const auto found = metadata.find(keyword);
    if (found == metadata.end()) {
      throw Error(ErrorKind::not_found,
                  std::string(path) + " has no text named \"" + keyword + "\"");
    }
    return new_handle<ernie_image_text>(std::make_shared<TextObject>(found->second));
  });
}

ernie_image_status ernie_image_compare(const ernie_image_image* a, const ernie_image_image* b,
                                       ernie_image_metrics* metrics, ernie_image_error** error) {
  return guarded_status(error, [&] {
    constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
    struct_size(metrics, "metrics");
    const ImageMetrics found =
        compare_images(read_image(a, "first image"), read_image(b, "second image"));
    const ernie_image_metrics filled = {
        sizeof filled,
        found.nmse_percent,
        found.psnr_db.value_or(std::numeric_limits<double>::infinity()),
        found.ssim.value_or(kNone),
        found.ms_ssim.value_or(kNone),
        found.mean_absolute_difference,
        found.max_absolute_difference,
        found.ms_ssim_scales};
    write_struct(filled, metrics, "metrics");
  });
}

ernie_image_status ernie_image_quantize(const ernie_image_quantize_options* options,
                                        ernie_image_error** error) {
  return guarded_status(error, [&] {
    quantize_model(read_quantize_options(read_struct(options, "quantize options")));
  });
}
