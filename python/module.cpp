// ernie_image._native: the C API (ernie_image/c.h) for Python. What is Python's own, such as the
// names of diffusers, threads and pictures, is in the package beside it. No function here may be
// called with arguments of a user: the package checks them.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ernie_image/c.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Texts = std::vector<std::string>;

/// Messages may name files, whose names need not be UTF-8.
nb::str decoded(const char* text) {
  return nb::steal<nb::str>(
      PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(std::strlen(text)), "replace"));
}

/// Raises the exception of ernie_image._errors that belongs to `error`, which it frees.
[[noreturn]] void raise(ernie_image_error* error) {
  const std::string kind = ernie_image_status_name(ernie_image_error_status(error));
  const nb::str message = decoded(ernie_image_error_message(error));
  ernie_image_error_free(error);
  const nb::object made = nb::module_::import_("ernie_image._errors").attr("make")(kind, message);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
  throw nb::python_error();
}

/// `error` is read after the call that is the first argument.
void require(ernie_image_status status, ernie_image_error* const& error) {
  if (status != ERNIE_IMAGE_OK) raise(error);
}

template <class Handle>
Handle* require(Handle* handle, ernie_image_error* const& error) {
  if (handle == nullptr) raise(error);
  return handle;
}

std::vector<const char*> pointers(const Texts& texts) {
  std::vector<const char*> result;
  for (const std::string& text : texts) result.push_back(text.c_str());
  return result;
}

nb::list strings(const char* const* texts, std::size_t count) {
  nb::list list;
  for (std::size_t i = 0; i < count; ++i) list.append(decoded(texts[i]));
  return list;
}

const char* or_null(const std::optional<std::string>& text) {
  return text.has_value() ? text->c_str() : nullptr;
}

std::string take(ernie_image_text* text) {
  std::string value = ernie_image_text_get(text);
  ernie_image_text_free(text);
  return value;
}

template <class T>
nb::bytes bytes_of(const T* values, std::size_t count) {
  return nb::bytes(reinterpret_cast<const char*>(values), count * sizeof(T));
}

/// [(height, width, rgb bytes)]
nb::list pictures(const ernie_image_result* result) {
  nb::list list;
  for (std::size_t i = 0; i < ernie_image_result_count(result); ++i) {
    ernie_image_image image = {};
    image.struct_size = sizeof image;
    require(ernie_image_result_image(result, i, &image, nullptr), nullptr);
    const auto bytes =
        static_cast<std::size_t>(image.height_px) * static_cast<std::size_t>(image.width_px) * 3;
    list.append(nb::make_tuple(image.height_px, image.width_px, bytes_of(image.rgb, bytes)));
  }
  return list;
}

/// (pictures, shape and bytes of latents or None, JSON of what the run took)
nb::tuple take(ernie_image_result* result) {
  std::int64_t shape[4] = {};
  nb::object latents = nb::none();
  if (const float* values = ernie_image_result_latents(result, shape)) {
    const auto count = static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * shape[3]);
    latents = nb::make_tuple(nb::make_tuple(shape[0], shape[1], shape[2], shape[3]),
                             bytes_of(values, count));
  }
  nb::tuple all =
      nb::make_tuple(pictures(result), latents, nb::str(ernie_image_result_json(result)));
  ernie_image_result_free(result);
  return all;
}

/// Python functions that a run calls. What they raise is kept until the run has ended.
struct Callbacks {
  nb::object on_progress, on_step, on_text;
  nb::object type, value;  // of what was raised
  bool failed = false;

  /// The status of a callback: 0 to go on. Called without the GIL.
  template <class Body>
  std::int32_t guarded(Body&& body) {
    const nb::gil_scoped_acquire gil;
    try {
      return body() ? 0 : 1;
    } catch (nb::python_error& error) {
      type = nb::borrow(error.type());
      value = nb::borrow(error.value());
    } catch (const std::exception& error) {
      type = nb::borrow(PyExc_RuntimeError);
      value = nb::str(error.what());
    }
    failed = true;
    return 1;
  }
  void rethrow() const {
    if (!failed) return;
    PyErr_SetObject(type.ptr(), value.ptr());
    throw nb::python_error();
  }
};

/// True to go on: callbacks that return nothing do.
bool goes_on(const nb::object& answer) { return answer.is_none() || nb::cast<bool>(answer); }

std::int32_t tell_progress(void* user_data, const ernie_image_progress* progress) {
  auto& callbacks = *static_cast<Callbacks*>(user_data);
  return callbacks.guarded([&] {
    return goes_on(callbacks.on_progress(progress->stage, progress->step, progress->steps,
                                         progress->stage_seconds));
  });
}

std::int32_t tell_step(void* user_data, const ernie_image_step* step) {
  auto& callbacks = *static_cast<Callbacks*>(user_data);
  return callbacks.guarded([&] {
    nb::object preview = nb::none();
    if (step->preview_rgb != nullptr) {
      const auto bytes = static_cast<std::size_t>(step->shape[0]) *
                         static_cast<std::size_t>(step->preview_height_px) *
                         static_cast<std::size_t>(step->preview_width_px) * 3;
      preview = nb::make_tuple(step->preview_height_px, step->preview_width_px,
                               bytes_of(step->preview_rgb, bytes));
    }
    const nb::tuple shape =
        nb::make_tuple(step->shape[0], step->shape[1], step->shape[2], step->shape[3]);
    const nb::object changed = callbacks.on_step(
        step->step, step->timestep, shape, bytes_of(step->latents, step->latent_count), preview);
    if (changed.is_none()) return true;
    const auto latents = nb::cast<Floats>(changed);
    if (latents.size() != step->latent_count)
      throw std::runtime_error("the latents of a callback have another size than those it got");
    std::memcpy(step->latents, latents.data(), latents.nbytes());
    return true;
  });
}

std::int32_t tell_text(void* user_data, const char* piece) {
  auto& callbacks = *static_cast<Callbacks*>(user_data);
  return callbacks.guarded([&] { return goes_on(callbacks.on_text(decoded(piece))); });
}

/// A request, and what its pointers point to.
struct Request {
  Texts prompts, negative_prompts, adapter_paths;
  std::vector<const char*> prompt_pointers, negative_pointers;
  std::vector<std::uint64_t> seeds;
  std::vector<ernie_image_adapter> adapters;
  std::optional<Floats> latents;
  std::vector<Floats> state_arrays;
  std::vector<ernie_image_text_states> prompt_states, negative_states;
  std::vector<std::uint64_t> variation_seeds;
  std::vector<std::int32_t> boxes;
  nb::bytes rgb, mask;
  ernie_image_image image = {};
  std::string strength_mode;
  ernie_image_request c = {};

  /// `given`: a dict of the package.
  explicit Request(const nb::dict& given) {
    const auto text_list = [&](const char* key) { return nb::cast<Texts>(given[key]); };
    const auto number = [&](const char* key) { return nb::cast<std::int32_t>(given[key]); };
    prompts = text_list("prompts");
    negative_prompts = text_list("negative_prompts");
    prompt_pointers = pointers(prompts);
    negative_pointers = pointers(negative_prompts);
    seeds = nb::cast<std::vector<std::uint64_t>>(given["seeds"]);
    adapter_paths = text_list("adapter_paths");
    const auto strengths = nb::cast<std::vector<double>>(given["adapter_strengths"]);
    for (std::size_t i = 0; i < adapter_paths.size(); ++i)
      adapters.push_back(
          {sizeof(ernie_image_adapter), adapter_paths[i].c_str(), strengths.at(i), -1});
    c.struct_size = sizeof c;
    c.prompts = prompt_pointers.data();
    c.prompt_count = prompts.size();
    c.negative_prompts = negative_pointers.data();
    c.negative_prompt_count = negative_prompts.size();
    c.height_px = number("height");
    c.width_px = number("width");
    c.num_inference_steps = number("num_inference_steps");
    c.num_images_per_prompt = number("num_images_per_prompt");
    c.guidance_scale = nb::cast<double>(given["guidance_scale"]);
    c.seeds = seeds.data();
    c.seed_count = seeds.size();
    c.adapters = adapters.data();
    c.adapter_count = adapters.size();
    c.latents_only = nb::cast<bool>(given["latents_only"]) ? 1 : 0;
    prompt_states = states_of(given["prompt_states"]);
    c.prompt_states = prompt_states.data();
    c.prompt_state_count = prompt_states.size();
    negative_states = states_of(given["negative_prompt_states"]);
    c.negative_prompt_states = negative_states.data();
    c.negative_prompt_state_count = negative_states.size();
    if (!given["latents"].is_none()) {
      latents = nb::cast<Floats>(given["latents"]);
      c.latents = latents->data();
      c.latent_count = latents->size();
    }
    take_picture(given);
    take_runs(given);
  }

  /// What is not there stays zero.
  template <class T>
  static void take_if(const nb::dict& given, const char* key, T& target) {
    if (given.contains(key)) target = nb::cast<T>(given[key]);
  }

  /// "image": (height, width, RGB bytes); "mask": bytes, one a pixel.
  void take_picture(const nb::dict& given) {
    take_if(given, "strength", c.strength);
    if (!given.contains("image")) return;
    const auto picture = nb::cast<nb::tuple>(given["image"]);
    rgb = nb::cast<nb::bytes>(picture[2]);
    image = {sizeof image, nb::cast<std::int32_t>(picture[0]), nb::cast<std::int32_t>(picture[1]),
             static_cast<const std::uint8_t*>(rgb.data())};
    c.image = &image;
    take_if(given, "strength_mode", strength_mode);
    if (!strength_mode.empty()) c.strength_mode = strength_mode.c_str();
    if (!given.contains("mask")) return;
    mask = nb::cast<nb::bytes>(given["mask"]);
    c.mask = static_cast<const std::uint8_t*>(mask.data());
    c.mask_count = mask.size();
    c.drawn_as_it_is = given.contains("drawn_as_it_is") ? 1 : 0;
    if (!given.contains("mask_padding")) return;
    c.masked_area_only = 1;
    c.mask_padding_px = nb::cast<std::int32_t>(given["mask_padding"]);
  }

  void take_runs(const nb::dict& given) {
    take_if(given, "variation_seeds", variation_seeds);
    take_if(given, "variation_strength", c.variation_strength);
    take_if(given, "hires_scale", c.hires_scale);
    take_if(given, "hires_height", c.hires_height_px);
    take_if(given, "hires_width", c.hires_width_px);
    take_if(given, "hires_strength", c.hires_strength);
    take_if(given, "hires_steps", c.hires_steps);
    take_if(given, "boxes", boxes);
    c.variation_seeds = variation_seeds.data();
    c.variation_seed_count = variation_seeds.size();
    c.boxes = boxes.data();
    c.box_count = boxes.size() / 4;
  }

  /// Of a list of arrays [tokens, width], which are kept.
  std::vector<ernie_image_text_states> states_of(const nb::object& list) {
    std::vector<ernie_image_text_states> states;
    for (const nb::handle each : nb::cast<nb::list>(list)) {
      state_arrays.push_back(nb::cast<Floats>(each));
      const Floats& array = state_arrays.back();
      states.push_back(
          {sizeof(ernie_image_text_states), array.data(), array.shape(0), array.shape(1)});
    }
    return states;
  }
};

ernie_image_image image_of(int height, int width, const nb::bytes& rgb) {
  return {sizeof(ernie_image_image), height, width, static_cast<const std::uint8_t*>(rgb.data())};
}

class Pipeline {
 public:
  explicit Pipeline(const nb::dict& given) {
    const auto text = [&](const char* key) {
      return nb::cast<std::optional<std::string>>(given[key]);
    };
    const auto model = text("model"), base = text("base"), transformer = text("transformer"),
               text_encoder = text("text_encoder"), vae = text("vae"), pe = text("pe"),
               tokenizer = text("tokenizer"), precision = text("precision"),
               quantization = text("quantization"), device = text("device"),
               cpu_kernels = text("cpu_kernels");
    const Texts names = nb::cast<Texts>(given["option_names"]);
    const Texts values = nb::cast<Texts>(given["option_values"]);
    const std::vector<const char*> name_pointers = pointers(names),
                                   value_pointers = pointers(values);
    ernie_image_load_options c = {};
    c.struct_size = sizeof c;
    c.model = or_null(model);
    c.base = or_null(base);
    c.transformer = or_null(transformer);
    c.text_encoder = or_null(text_encoder);
    c.vae = or_null(vae);
    c.pe = or_null(pe);
    c.tokenizer = or_null(tokenizer);
    c.precision = or_null(precision);
    c.quantization = or_null(quantization);
    c.device = or_null(device);
    c.cpu_kernels = or_null(cpu_kernels);
    c.num_threads = nb::cast<std::int32_t>(given["num_threads"]);
    c.memory_limit_bytes = nb::cast<std::uint64_t>(given["memory_limit_bytes"]);
    c.device_option_names = name_pointers.data();
    c.device_option_values = value_pointers.data();
    c.device_option_count = names.size();
    ernie_image_error* error = nullptr;
    {
      const nb::gil_scoped_release unlocked;
      handle_ = ernie_image_load(&c, &error);
    }
    require(handle_, error);
  }
  ~Pipeline() { close(); }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  void close() {
    const nb::gil_scoped_release unlocked;
    ernie_image_pipeline_free(handle_);
  }
  void cancel() const { ernie_image_cancel(handle_, nullptr); }

  nb::dict info() const {
    ernie_image_model_info info = {};
    info.struct_size = sizeof info;
    ernie_image_error* error = nullptr;
    require(ernie_image_pipeline_info(handle_, &info, &error), error);
    nb::dict d;
    d["path"] = decoded(info.path);
    d["name"] = decoded(info.name);
    d["content_hash"] = nb::str(info.content_hash);
    d["height"] = info.default_height_px;
    d["width"] = info.default_width_px;
    d["num_inference_steps"] = info.default_num_inference_steps;
    d["guidance_scale"] = info.default_guidance_scale;
    d["size_multiple"] = info.size_multiple_px;
    d["latent_channels"] = info.latent_channels;
    d["text_width"] = info.text_width;
    d["has_prompt_enhancer"] = info.has_prompt_enhancer != 0;
    d["load_seconds"] = info.load_seconds;
    d["notes"] = strings(info.notes, info.note_count);
    d["unused_tensors"] = strings(info.unused_tensors, info.unused_tensor_count);
    return d;
  }

  void check(const nb::dict& given) const {
    const Request request(given);
    ernie_image_error* error = nullptr;
    ernie_image_status status = ERNIE_IMAGE_OK;
    {
      const nb::gil_scoped_release unlocked;
      status = ernie_image_check(handle_, &request.c, &error);
    }
    require(status, error);
  }

  nb::tuple generate(const nb::dict& given, nb::object on_progress, nb::object on_step,
                     bool with_previews) const {
    Request request(given);
    Callbacks callbacks;
    callbacks.on_progress = std::move(on_progress);
    callbacks.on_step = std::move(on_step);
    if (!callbacks.on_progress.is_none()) request.c.on_progress = tell_progress;
    if (!callbacks.on_step.is_none()) request.c.on_step = tell_step;
    request.c.with_previews = with_previews ? 1 : 0;
    request.c.user_data = &callbacks;
    ernie_image_error* error = nullptr;
    ernie_image_result* result = nullptr;
    {
      const nb::gil_scoped_release unlocked;
      result = ernie_image_generate(handle_, &request.c, &error);
    }
    if (callbacks.failed) ernie_image_error_free(std::exchange(error, nullptr));
    callbacks.rethrow();
    return take(require(result, error));
  }

  nb::tuple decode(const Floats& latents, int height, int width) const {
    ernie_image_error* error = nullptr;
    ernie_image_result* result = nullptr;
    {
      const nb::gil_scoped_release unlocked;
      result = ernie_image_decode(handle_, latents.data(), latents.size(), height, width, &error);
    }
    return take(require(result, error));
  }

  /// (shape, bytes) of latents of a picture, given as bytes of height x width x 3
  nb::object encode(int height, int width, const nb::bytes& rgb) const {
    const ernie_image_image image = image_of(height, width, rgb);
    ernie_image_error* error = nullptr;
    ernie_image_result* result = nullptr;
    {
      const nb::gil_scoped_release unlocked;
      result = ernie_image_encode(handle_, &image, &error);
    }
    return take(require(result, error))[1];
  }

  /// (text, whether it is finished)
  nb::tuple enhance(const std::string& prompt, int height, int width, double temperature,
                    double top_p, int top_k, int max_tokens, std::uint64_t seed,
                    const std::optional<std::string>& quantization,
                    const std::optional<std::string>& system_prompt, nb::object on_text) const {
    ernie_image_enhance_options c = {};
    c.struct_size = sizeof c;
    c.temperature = temperature;
    c.top_p = top_p;
    c.top_k = top_k;
    c.max_tokens = max_tokens;
    c.seed = seed;
    c.quantization = or_null(quantization);
    c.system_prompt = or_null(system_prompt);
    Callbacks callbacks;
    callbacks.on_text = std::move(on_text);
    if (!callbacks.on_text.is_none()) c.on_text = tell_text;
    c.user_data = &callbacks;
    ernie_image_error* error = nullptr;
    ernie_image_text* text = nullptr;
    {
      const nb::gil_scoped_release unlocked;
      text = ernie_image_enhance(handle_, prompt.c_str(), height, width, &c, &error);
    }
    if (callbacks.failed) ernie_image_error_free(std::exchange(error, nullptr));
    callbacks.rethrow();
    const bool finished = ernie_image_text_is_finished(require(text, error)) != 0;
    return nb::make_tuple(take(text), finished);
  }

 private:
  ernie_image_pipeline* handle_ = nullptr;
};

class Tokenizer {
 public:
  explicit Tokenizer(const std::optional<std::string>& model) {
    ernie_image_error* error = nullptr;
    handle_ = require(ernie_image_tokenizer_open(or_null(model), &error), error);
  }
  ~Tokenizer() { ernie_image_tokenizer_free(handle_); }
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  std::vector<std::int32_t> encode(const std::string& text) const {
    ernie_image_error* error = nullptr;
    std::vector<std::int32_t> ids(text.size() + 8);
    const std::int64_t count =
        ernie_image_tokenizer_encode(handle_, text.c_str(), ids.data(), ids.size(), &error);
    if (count < 0) raise(error);
    ids.resize(std::min(ids.size(), static_cast<std::size_t>(count)));
    return ids;
  }
  std::string decode(const std::vector<std::int32_t>& ids) const {
    ernie_image_error* error = nullptr;
    return take(
        require(ernie_image_tokenizer_decode(handle_, ids.data(), ids.size(), &error), error));
  }

 private:
  ernie_image_tokenizer* handle_ = nullptr;
};

/// Of two pictures, as bytes of height x width x 3.
nb::dict compare(int height_a, int width_a, const nb::bytes& a, int height_b, int width_b,
                 const nb::bytes& b) {
  const ernie_image_image first = image_of(height_a, width_a, a),
                          second = image_of(height_b, width_b, b);
  ernie_image_metrics metrics = {};
  metrics.struct_size = sizeof metrics;
  ernie_image_error* error = nullptr;
  require(ernie_image_compare(&first, &second, &metrics, &error), error);
  nb::dict d;
  d["nmse_percent"] = metrics.nmse_percent;
  d["psnr_db"] = metrics.psnr_db;
  d["ssim"] = metrics.ssim;
  d["ms_ssim"] = metrics.ms_ssim;
  d["ms_ssim_scales"] = metrics.ms_ssim_scales;
  d["mean_absolute_difference"] = metrics.mean_absolute_difference;
  d["max_absolute_difference"] = metrics.max_absolute_difference;
  return d;
}

std::string read_text(const std::string& path, const std::string& keyword) {
  ernie_image_error* error = nullptr;
  return take(require(ernie_image_read_text(path.c_str(), keyword.c_str(), &error), error));
}

void quantize(const std::string& model, const std::string& output, const std::string& quantization,
              const Texts& components, std::uint64_t max_shard_bytes, int num_threads, bool force) {
  const std::vector<const char*> names = pointers(components);
  ernie_image_quantize_options c = {};
  c.struct_size = sizeof c;
  c.model = model.c_str();
  c.output = output.c_str();
  c.quantization = quantization.c_str();
  c.components = names.data();
  c.component_count = names.size();
  c.max_shard_bytes = max_shard_bytes;
  c.num_threads = num_threads;
  c.force = force ? 1 : 0;
  // So that Ctrl-C is seen; elsewhere than on the main thread it never is.
  c.on_progress = [](void*, std::uint64_t, std::uint64_t) -> std::int32_t {
    const nb::gil_scoped_acquire gil;
    return PyErr_CheckSignals() == 0 ? 0 : 1;
  };
  ernie_image_error* error = nullptr;
  ernie_image_status status = ERNIE_IMAGE_OK;
  {
    const nb::gil_scoped_release unlocked;
    status = ernie_image_quantize(&c, &error);
  }
  if (PyErr_Occurred() != nullptr) {
    ernie_image_error_free(error);
    throw nb::python_error();
  }
  require(status, error);
}

}  // namespace

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);  // what a thread holds at the interpreter's end is no leak of ours
  m.doc() = "The C API of ernie-image; use the package ernie_image instead.";
  m.def("version", &ernie_image_version, "Version of the library.");
  nb::class_<Pipeline>(m, "Pipeline", "A loaded model.")
      .def(nb::init<const nb::dict&>(), "options"_a)
      .def("close", &Pipeline::close)
      .def("cancel", &Pipeline::cancel)
      .def("info", &Pipeline::info)
      .def("check", &Pipeline::check, "request"_a)
      .def("generate", &Pipeline::generate, "request"_a, "on_progress"_a.none(), "on_step"_a.none(),
           "with_previews"_a)
      .def("decode", &Pipeline::decode, "latents"_a, "height"_a, "width"_a)
      .def("encode", &Pipeline::encode, "height"_a, "width"_a, "rgb"_a)
      .def("enhance", &Pipeline::enhance, "prompt"_a, "height"_a, "width"_a, "temperature"_a,
           "top_p"_a, "top_k"_a, "max_tokens"_a, "seed"_a, "quantization"_a.none(),
           "system_prompt"_a.none(), "on_text"_a.none());
  nb::class_<Tokenizer>(m, "Tokenizer", "The tokenizer of a model.")
      .def(nb::init<const std::optional<std::string>&>(), "model"_a.none())
      .def("encode", &Tokenizer::encode, "text"_a)
      .def("decode", &Tokenizer::decode, "ids"_a);
  m.def("compare", &compare, "height_a"_a, "width_a"_a, "a"_a, "height_b"_a, "width_b"_a, "b"_a);
  m.def("read_text", &read_text, "path"_a, "keyword"_a);
  m.def("quantize", &quantize, "model"_a, "output"_a, "quantization"_a, "components"_a,
        "max_shard_bytes"_a, "num_threads"_a, "force"_a);
}
