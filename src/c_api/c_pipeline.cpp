// Loading a model, and what it does.
#include "c_api/c_error.h"
#include "c_api/c_request.h"
#include "c_api/objects.h"
#include "c_api/result_json.h"
#include "c_api/sized_struct.h"
#include "core/enum_names.h"
#include "ernie_image/log.h"

namespace ernie_image::c_api {
namespace {

constexpr int kMaxThreads = 1024;
constexpr std::size_t kMaxDeviceOptions = 64;
constexpr double kMaxTemperature = 100;
constexpr int kMaxTokens = 1 << 20;

template <class Enum>
Enum read_enum(const char* name, Enum fallback, const char* what) {
  return read_name(name, fallback, what, all_names<Enum>(", "),
                   [](const char* text) { return from_name<Enum>(text); });
}

LoadOptions read_load_options(const ernie_image_load_options* given) {
  LoadOptions options;
  if (given == nullptr) return options;
  const auto c = read_struct(given, "load options");
  options.model = text_or(c.model);
  options.parts = {text_or(c.base), text_or(c.transformer), text_or(c.text_encoder),
                   text_or(c.vae),  text_or(c.pe),          text_or(c.tokenizer)};
  options.precision = read_enum(c.precision, options.precision, "precision");
  options.quantization = read_enum(c.quantization, options.quantization, "quantization");
  options.device = text_or(c.device, "cpu");
  options.cpu_kernels = text_or(c.cpu_kernels, "auto");
  options.num_threads = read_count(c.num_threads, kMaxThreads, "the number of threads");
  options.memory_limit_bytes = c.memory_limit_bytes;
  const auto names = read_texts(c.device_option_names, c.device_option_count, kMaxDeviceOptions,
                                "names of device options");
  const auto values = read_texts(c.device_option_values, c.device_option_count, kMaxDeviceOptions,
                                 "values of device options");
  for (std::size_t i = 0; i < names.size(); ++i) options.device_options[names[i]] = values[i];
  return options;
}

std::vector<const char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<const char*> pointers;
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  return pointers;
}

void fill_info(const PipelineObject& object, ernie_image_model_info& c) {
  const ModelInfo& info = object.pipeline.info();
  c.path = info.path.c_str();
  c.name = info.name.c_str();
  c.content_hash = info.content_hash.c_str();
  c.default_height_px = info.defaults.height_px;
  c.default_width_px = info.defaults.width_px;
  c.default_num_inference_steps = info.defaults.num_inference_steps;
  c.size_multiple_px = info.size_multiple_px;
  c.default_guidance_scale = info.defaults.guidance_scale.value();
  c.latent_channels = info.latent_channels;
  c.text_width = info.text_width;
  c.has_prompt_enhancer = info.has_prompt_enhancer ? 1 : 0;
  c.load_seconds = info.load_seconds;
  c.notes = object.notes.data();
  c.note_count = object.notes.size();
  c.unused_tensors = object.unused_tensors.data();
  c.unused_tensor_count = object.unused_tensors.size();
}

[[noreturn]] void refuse_option(const char* name, double value, const char* range) {
  throw Error(ErrorKind::invalid_argument,
              std::string(name) + " must be " + range + ", found " + std::to_string(value));
}

EnhanceOptions read_enhance_options(const ernie_image_enhance_options* given,
                                    const std::shared_ptr<CancelToken>& token) {
  EnhanceOptions options;
  options.cancel = token;
  if (given == nullptr) return options;
  const auto c = read_struct(given, "enhance options");
  if (!(c.temperature <= kMaxTemperature)) refuse_option("temperature", c.temperature, "0 to 100");
  if (!(c.top_p >= 0 && c.top_p <= 1)) refuse_option("top_p", c.top_p, "0 to 1");
  if (c.temperature != 0) options.temperature = std::max(0.0, c.temperature);
  if (c.top_p != 0) options.top_p = c.top_p;
  options.top_k = read_count(c.top_k, kMaxTokens, "top_k");
  if (c.max_tokens != 0) options.max_tokens = read_count(c.max_tokens, kMaxTokens, "max_tokens");
  options.seed = c.seed;
  options.quantization = read_enum(c.quantization, options.quantization, "quantization");
  options.system_prompt = text_or(c.system_prompt);
  if (c.on_text != nullptr) {
    options.on_text = [on_text = c.on_text, user_data = c.user_data,
                       token](const std::string& piece) {
      if (on_text(user_data, piece.c_str()) != 0) token->request();
      token->throw_if_requested();
    };
  }
  return options;
}

std::shared_ptr<PipelineObject> open_pipeline(const ernie_image_pipeline* handle) {
  return open_handle<PipelineObject>(handle, "pipeline");
}

}  // namespace

Work::Work(PipelineObject& object) : object_(object), token_(std::make_shared<CancelToken>()) {
  const std::lock_guard lock(object.mutex_);
  if (object.token_ != nullptr)
    throw BusyError("the pipeline is at work in another call; wait for it, or load another");
  object.token_ = token_;
}

Work::~Work() {
  const std::lock_guard lock(object_.mutex_);
  object_.token_ = nullptr;
}

}  // namespace ernie_image::c_api

using namespace ernie_image;
using namespace ernie_image::c_api;

ernie_image_status ernie_image_set_log(ernie_image_log_function function, void* user_data,
                                       ernie_image_error** error) {
  return guarded_status(error, [&] {
    if (function == nullptr) return set_log_sink({});
    set_log_sink([function, user_data](LogLevel level, const std::string& message) {
      function(user_data, static_cast<std::int32_t>(level), message.c_str());
    });
  });
}

ernie_image_pipeline* ernie_image_load(const ernie_image_load_options* options,
                                       ernie_image_error** error) {
  return guarded(error, static_cast<ernie_image_pipeline*>(nullptr), [&] {
    const auto object = std::make_shared<PipelineObject>(read_load_options(options));
    object->notes = pointers_to(object->pipeline.info().notes);
    object->unused_tensors = pointers_to(object->pipeline.info().unused_tensors);
    return new_handle<ernie_image_pipeline>(object);
  });
}

void ernie_image_pipeline_free(ernie_image_pipeline* pipeline) { close_object(pipeline); }

ernie_image_status ernie_image_cancel(ernie_image_pipeline* pipeline, ernie_image_error** error) {
  return guarded_status(error, [&] { open_pipeline(pipeline)->cancel(); });
}

ernie_image_status ernie_image_pipeline_info(const ernie_image_pipeline* pipeline,
                                             ernie_image_model_info* info,
                                             ernie_image_error** error) {
  return guarded_status(error, [&] {
    const auto object = open_pipeline(pipeline);
    ernie_image_model_info filled = {};
    fill_info(*object, filled);
    write_struct(filled, info, "model info");
  });
}

ernie_image_status ernie_image_check(ernie_image_pipeline* pipeline,
                                     const ernie_image_request* request,
                                     ernie_image_error** error) {
  return guarded_status(error, [&] {
    const auto object = open_pipeline(pipeline);
    const Work work(*object);
    Call call(request, *object);
    object->pipeline.check(call.with_callbacks(work.token()));
  });
}

ernie_image_result* ernie_image_generate(ernie_image_pipeline* pipeline,
                                         const ernie_image_request* request,
                                         ernie_image_error** error) {
  return guarded(error, static_cast<ernie_image_result*>(nullptr), [&] {
    const auto object = open_pipeline(pipeline);
    const Work work(*object);
    Call call(request, *object);
    const Request asked = call.with_callbacks(work.token());
    if (call.wants_previews() && !object->preview.has_value()) {
      object->pipeline.check(asked);
      const ModelInfo& info = object->pipeline.info();
      object->preview.emplace(info.latent_channels, info.size_multiple_px);
      learn_from_random_latents(*object->preview, object->pipeline);
    }
    Result made = object->pipeline.generate(asked);
    work.token()->throw_if_requested();
    call.teach_previews(made.images);
    const auto result = std::make_shared<ResultObject>();
    result->json = result_json(made, asked);
    result->images = std::move(made.images);
    call.take_latents(*result);
    return new_handle<ernie_image_result>(result);
  });
}

ernie_image_result* ernie_image_decode(ernie_image_pipeline* pipeline, const float* latents,
                                       size_t latent_count, int32_t height_px, int32_t width_px,
                                       ernie_image_error** error) {
  return guarded(error, static_cast<ernie_image_result*>(nullptr), [&] {
    const auto object = open_pipeline(pipeline);
    const Work work(*object);
    const auto values = read_numbers(latents, latent_count, "latents");
    c_api::require_finite(values);
    const auto result = std::make_shared<ResultObject>();
    result->images = object->pipeline.decode(values, height_px, width_px, work.token());
    return new_handle<ernie_image_result>(result);
  });
}

ernie_image_result* ernie_image_encode(ernie_image_pipeline* pipeline,
                                       const ernie_image_image* image, ernie_image_error** error) {
  return guarded(error, static_cast<ernie_image_result*>(nullptr), [&] {
    const auto object = open_pipeline(pipeline);
    const Work work(*object);
    const Image picture = c_api::read_image(image, "image");
    const auto result = std::make_shared<ResultObject>();
    result->latents = object->pipeline.encode(picture, work.token());
    const ModelInfo& info = object->pipeline.info();
    result->shape = {1, info.latent_channels, picture.height_px / info.size_multiple_px,
                     picture.width_px / info.size_multiple_px};
    return new_handle<ernie_image_result>(result);
  });
}

ernie_image_text* ernie_image_enhance(ernie_image_pipeline* pipeline, const char* prompt,
                                      int32_t height_px, int32_t width_px,
                                      const ernie_image_enhance_options* options,
                                      ernie_image_error** error) {
  return guarded(error, static_cast<ernie_image_text*>(nullptr), [&] {
    const auto object = open_pipeline(pipeline);
    const Work work(*object);
    if (prompt == nullptr) throw Error(ErrorKind::invalid_argument, "the prompt is NULL");
    const Request& defaults = object->pipeline.info().defaults;
    const int height = read_count(height_px, kMaxSidePx, "the height");
    const int width = read_count(width_px, kMaxSidePx, "the width");
    const EnhancedPrompt enhanced = object->pipeline.enhance(
        prompt, width == 0 ? defaults.width_px : width, height == 0 ? defaults.height_px : height,
        read_enhance_options(options, work.token()));
    return new_handle<ernie_image_text>(
        std::make_shared<TextObject>(enhanced.text, enhanced.finished));
  });
}
