#include "common/flags.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include <CLI/CLI.hpp>

#include "backend/registry.h"
#include "common/console.h"
#include "common/limits.h"
#include "common/parse_values.h"
#include "core/enum_names.h"
#include "io/model_folder.h"
#include "request/request.h"

namespace ernie_image {
namespace {

/// How the command line calls the options of a request.
struct OptionFlag {
  std::string_view option;
  const char* names;
  const char* help;
};

constexpr OptionFlag kOptionFlags[] = {
    {"height", "--height,-H", "pixels; default: the model's own size"},
    {"width", "--width,-W", "pixels; default: the model's own size"},
    {"num_inference_steps", "--num-steps,--steps,--num-inference-steps",
     "denoising steps; default: the model's own number"},
    {"guidance_scale", "--guidance-scale,--cfg-scale",
     "classifier-free guidance, off at 1 and below; default: the model's own"},
    {"variation_strength", "--variation-strength",
     "how much of --variation-seed's noise is mixed in: 0 none, 1 nothing else"},
    {"hires_scale", "--hires-scale", "as --hires SCALE"},
    {"hires_width", "--hires-width", "as --hires WxH, with --hires-height"},
    {"hires_height", "--hires-height", "as --hires WxH, with --hires-width"},
    {"hires_strength", "--hires-strength",
     "how much the second run of --hires draws anew; default 0.7"},
    {"hires_steps", "--hires-steps",
     "of the second run's schedule, of which the strength leaves some; default: as the first"},
};

std::string first_name(const std::string& names) { return names.substr(0, names.find(',')); }

/// "auto|none|layers"
std::string alternatives(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : "|") + word;
  return text;
}

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

void add_option_flag(CLI::App& app, const std::string& option_name, Request& request,
                     const std::string& help) {
  const OptionFlag& flag = *std::ranges::find(kOptionFlags, option_name, &OptionFlag::option);
  const RequestOption& option = request_option(option_name);
  const auto set = [&request, &option, name = first_name(flag.names)](const std::string& text) {
    const double value =
        option.is_whole()
            ? static_cast<double>(parse_integer(name, text, static_cast<int>(option.min),
                                                static_cast<int>(option.max)))
            : parse_number(name, text, option.min, option.max);
    option.set(request, value);
  };
  app.add_option_function<std::string>(flag.names, set, help.empty() ? flag.help : help)
      ->type_name(option.is_whole() ? "N" : "F");
}

void add_option_flags(CLI::App& app, Request& request) {
  for (const OptionFlag& flag : kOptionFlags)
    add_option_flag(app, std::string(flag.option), request, "");
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

CLI::Option* add_choice_flag(CLI::App& app, const std::string& name,
                             const std::vector<std::string>& values,
                             const std::function<void(const std::string&)>& set,
                             const std::string& help) {
  return app.add_option_function<std::string>(name, set, help)
      ->check(CLI::IsMember(values).description(""))
      ->type_name(alternatives(values));
}

namespace {

/// `name` with the names of Enum as its values.
template <Named Enum>
void add_enum_flag(CLI::App& app, const std::string& name, Enum& target, const std::string& help) {
  const auto names = names_of(Enum{});
  add_choice_flag(
      app, name, {names.begin(), names.end()},
      [&target](const std::string& text) { target = from_name<Enum>(text).value(); }, help);
}

}  // namespace

void add_dtype_flag(CLI::App& app, LoadOptions& load) {
  add_enum_flag(app, "--dtype", load.precision,
                "what tensors between operations are rounded to: fp32 (default) or bf16");
}

void add_quantization_flag(CLI::App& app, const std::string& name, Quantization& quantization,
                           const std::string& help) {
  add_enum_flag(app, name, quantization, help);
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
  app.add_option(
         "--device", device,
         "what computes, card N of its kind, or several cards, each of which draws its share "
         "of the pictures; " +
             if_absent)
      ->check(known)
      ->type_name(device_name_pattern());
}

void add_device_flag(CLI::App& app, LoadOptions& load) {
  add_device_name_flag(app, load.device, "default: cpu");
  add_device_option_flags(app, load.device_options);
}

void add_device_option_flags(CLI::App& app, std::map<std::string, std::string>& options) {
  for (const DeviceOption& option : all_device_options()) {
    const auto set = [&options, name = option.name](const std::string& value) {
      options[name] = value;
    };
    add_choice_flag(app, flag_of_option(option.name), option.values, set, option.help);
  }
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

void add_single_prompt_flags(CLI::App& app, std::optional<std::string>& prompt) {
  CLI::Option* const plain =
      app.add_option("prompt", prompt, "what to draw, in quotes")->type_name("TEXT");
  app.add_option("--prompt,-p", prompt, "the same; - is all of standard input")
      ->excludes(plain)
      ->type_name("TEXT");
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
            << info.defaults.width_px << "x" << info.defaults.height_px << ".\n"
            << "For real pictures: `ernie-image pull baidu/ERNIE-Image-Turbo` once (24 GB), then "
               "--model baidu/ERNIE-Image-Turbo.\n";
}

}  // namespace ernie_image
