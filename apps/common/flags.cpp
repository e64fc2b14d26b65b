#include "common/flags.h"

#include <iostream>
#include <utility>

#include <CLI/CLI.hpp>

#include "backend/cpu/cpu_backend.h"
#include "backend/registry.h"
#include "common/console.h"
#include "common/limits.h"
#include "common/parse_values.h"
#include "common/precision_names.h"
#include "io/model_folder.h"

namespace ernie_image {
namespace {

std::string first_name(const std::string& names) { return names.substr(0, names.find(',')); }

}  // namespace

CLI::Option* add_integer_flag(CLI::App& app, const std::string& names, int& target, int min,
                              int max, const std::string& help) {
  const auto set = [&target, flag = first_name(names), min, max](const std::string& text) {
    target = static_cast<int>(parse_integer(flag, text, min, max));
  };
  return app.add_option_function<std::string>(names, set, help)->type_name("N");
}

CLI::Option* add_number_flag(CLI::App& app, const std::string& names,
                             std::function<void(double)> set, double min, double max,
                             const std::string& help) {
  const auto parse = [set = std::move(set), flag = first_name(names), min,
                      max](const std::string& text) { set(parse_number(flag, text, min, max)); };
  return app.add_option_function<std::string>(names, parse, help)->type_name("F");
}

void add_size_and_steps_flags(CLI::App& app, Request& request) {
  add_integer_flag(app, "--height,-H", request.height_px, 1, kMaxSidePx,
                   "pixels; default: the model's own size");
  add_integer_flag(app, "--width,-W", request.width_px, 1, kMaxSidePx,
                   "pixels; default: the model's own size");
  add_integer_flag(app, "--num-steps,--steps,--num-inference-steps", request.num_inference_steps, 1,
                   kMaxSteps, "denoising steps; default: the model's own number");
}

void add_guidance_flag(CLI::App& app, Request& request) {
  add_number_flag(
      app, "--guidance-scale,--cfg-scale",
      [&request](double scale) { request.guidance_scale = scale; }, 0, kMaxGuidanceScale,
      "classifier-free guidance, off at 1 and below; default: the model's own");
}

void add_single_seed_flag(CLI::App& app, Request& request) {
  app.add_option_function<std::string>(
         "--seed,-s",
         [&request](const std::string& text) { request.seeds = {parse_seed("--seed", text)}; },
         "of every picture, default 42")
      ->type_name("N");
}

void add_model_flag(CLI::App& app, LoadOptions& load) {
  app.add_option("--model,-m", load.model,
                 "model folder, a hub id already in the local cache, or a file of safetensors or "
                 "GGUF; default: $ERNIE_IMAGE_MODEL, else the embedded model")
      ->type_name("DIR|ID|FILE");
}

void add_parts_flags(CLI::App& app, ModelParts& parts) {
  const auto add = [&app](const char* names, std::string& target, const char* help,
                          const char* type) {
    app.add_option(names, target, help)->type_name(type);
  };
  add("--base", parts.base,
      "what a model file lacks comes from here; default: $ERNIE_IMAGE_MODEL, else the released "
      "model "
      "in the local cache",
      "DIR|ID");
  add("--transformer,--diffusion-model", parts.transformer, "in place of the model's own",
      "FILE|DIR");
  add("--text-encoder,--llm", parts.text_encoder, "in place of the model's own", "FILE|DIR");
  add("--vae", parts.vae, "in place of the model's own", "FILE|DIR");
  add("--pe", parts.pe, "prompt enhancer in place of the model's own", "FILE|DIR");
  add("--tokenizer", parts.tokenizer, "in place of the model's own", "FILE|DIR");
}

void add_threads_flag(CLI::App& app, LoadOptions& load) {
  add_integer_flag(app, "--threads,-t", load.num_threads, 1, kMaxThreads,
                   "CPU threads; default: every CPU this process may use");
}

void add_dtype_flag(CLI::App& app, LoadOptions& load) {
  app.add_option_function<std::string>(
         "--dtype",
         [&load](const std::string& name) { load.precision = precision_from_name(name).value(); },
         "what tensors between operations are rounded to: fp32 (default) or bf16")
      ->check(CLI::IsMember({"fp32", "bf16"}).description(""))
      ->type_name("fp32|bf16");
}

void add_quantization_flag(CLI::App& app, const std::string& name, Quantization& quantization,
                           const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [&quantization](const std::string& text) {
           quantization = quantization_from_name(text).value();
         },
         help)
      ->check(CLI::IsMember({"none", "int8", "int4"}).description(""))
      ->type_name("none|int8|int4");
}

void add_quant_flag(CLI::App& app, LoadOptions& load) {
  add_quantization_flag(
      app, "--quant", load.quantization,
      "weights of the transformer in memory: none (default, as in the file), int8, "
      "twice as fast, or int4, faster and less exact");
}

void add_cpu_kernels_flag(CLI::App& app, LoadOptions& load) {
  app.add_option("--cpu-kernels", load.cpu_kernels,
                 "instruction set, one of those `ernie-image devices` lists; default: the best")
      ->type_name("NAME");
}

void add_device_name_flag(CLI::App& app, std::string& device, const std::string& if_absent) {
  const CLI::Validator known(
      [](std::string& name) {
        try {
          split_device_list(name);
        } catch (const Error& error) {
          return std::string(error.what());
        }
        return std::string();
      },
      "");
  app.add_option("--device", device,
                 "cpu, cuda or ascend, cuda:N or ascend:N for their card N, or several cards, each "
                 "of which draws its share of the pictures; " +
                     if_absent)
      ->check(known)
      ->type_name("cpu|cuda[:N,...]|ascend[:N,...]");
}

void add_device_flag(CLI::App& app, LoadOptions& load) {
  add_device_name_flag(app, load.device, "default: cpu");
  app.add_option("--offload", load.offload,
                 "when weights leave a device's memory: auto (default) when room is needed, none, "
                 "encoder when their stage is done, layers streams them from the file")
      ->check(CLI::IsMember({"auto", "none", "encoder", "layers"}).description(""))
      ->type_name("auto|none|encoder|layers");
  app.add_option("--ascend-attention", load.ascend_attention,
                 "how padding reaches Ascend's attention: auto (default), lengths, mask (dense), "
                 "or composed of plain operations")
      ->check(CLI::IsMember({"auto", "lengths", "mask", "composed"}).description(""))
      ->type_name("auto|lengths|mask|composed");
  add_cuda_attention_flag(app, load.cuda_attention);
}

void add_cuda_attention_flag(CLI::App& app, std::string& attention) {
  app.add_option(
         "--cuda-attention", attention,
         "which attention NVIDIA GPUs use: auto (default, cuDNN's where it can), cudnn, own")
      ->check(CLI::IsMember({"auto", "cudnn", "own"}).description(""))
      ->type_name("auto|cudnn|own");
}

void add_memory_limit_flag(CLI::App& app, LoadOptions& load) {
  app.add_option_function<std::string>(
         "--memory-limit",
         [&load](const std::string& text) {
           load.memory_limit_bytes = parse_byte_count("--memory-limit", text);
         },
         "of everything held in memory, weights included, e.g. 6G; what does not fit is read from "
         "the files layer by layer; default: what the system has")
      ->type_name("BYTES");
}

void add_load_flags(CLI::App& app, LoadOptions& load) {
  add_model_flag(app, load);
  add_parts_flags(app, load.parts);
  add_dtype_flag(app, load);
  add_quant_flag(app, load);
  add_device_flag(app, load);
  add_threads_flag(app, load);
  add_cpu_kernels_flag(app, load);
  add_memory_limit_flag(app, load);
}

std::string kernels_used(const LoadOptions& load) {
  return load.cpu_kernels == "auto" ? cpu_kernel_names().front() : load.cpu_kernels;
}

void note_model(const LoadOptions& load, const ModelInfo& info) {
  for (const std::string& note : info.notes) std::cerr << visible(note) << "\n";
  if (!info.unused_tensors.empty()) {
    std::cerr << "Warning: " << info.name << " has " << info.unused_tensors.size()
              << " tensors that are not used, e.g. " << visible(info.unused_tensors.front())
              << "; `ernie-image inspect` names them all.\n";
  }
  if (!load.model.empty() || info.path != kEmbeddedModel) return;
  std::cerr << "Using the embedded model " << info.name << ": emoji on plain backgrounds, "
            << info.default_width_px << "x" << info.default_height_px << ".\n"
            << "For real pictures download baidu/ERNIE-Image-Turbo once (about 24 GB), e.g. with\n"
            << "  hf download baidu/ERNIE-Image-Turbo\n"
            << "and pass --model baidu/ERNIE-Image-Turbo, or set ERNIE_IMAGE_MODEL to it or to its "
               "folder.\n";
}

}  // namespace ernie_image
