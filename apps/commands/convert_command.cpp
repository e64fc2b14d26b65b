#include "commands/commands.h"

#include <iostream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "common/console.h"
#include "common/exit_code.h"
#include "common/interrupt.h"
#include "common/progress_bar.h"
#include "core/enum_names.h"
#include "io/model_folder.h"
#include "quantize/convert_model.h"

namespace ernie_image {
namespace {

constexpr const char* kConvertExamples =
    "Examples:\n"
    "  ernie-image convert -m baidu/ERNIE-Image-Turbo --to gguf --type Q4_K -o turbo-Q4_K.gguf\n"
    "  ernie-image convert -m baidu/ERNIE-Image-Turbo --to comfyui --type F8_E4M3 -o "
    "ComfyUI/models\n"
    "  ernie-image convert --model dit_fp8.safetensors --base baidu/ERNIE-Image-Turbo \\\n"
    "      --to diffusers -o turbo-bf16\n"
    "  ernie-image generate --model turbo-Q4_K.gguf --prompt \"a lighthouse\" --output l.png";

struct ConvertFlags {
  LoadOptions load;
  std::string target;
  std::string components;
  ConvertRequest request;
  bool json = false;
  bool quiet = false;
};

Component component_of(const std::string& name) {
  const auto component = from_name<Component>(name);
  if (component) return *component;
  throw Error(ErrorKind::invalid_argument,
              "--components: \"" + name +
                  "\" is none of transformer, text_encoder, pe and vae, separated by commas");
}

/// "transformer,vae"
std::set<Component> components_of(const std::string& list) {
  std::set<Component> components;
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    components.insert(component_of(list.substr(begin, end - begin)));
    begin = end + 1;
  }
  return components;
}

std::string listed(const std::map<std::string, int>& types) {
  std::string text;
  for (const auto& [type, tensors] : types)
    text += (text.empty() ? "" : ", ") + std::to_string(tensors) + " " + type;
  return text;
}

void report(const ConvertFlags& flags, const ConvertResult& result) {
  nlohmann::json files = nlohmann::json::array();
  for (const ConvertedFile& file : result.files) {
    if (file.component.empty()) continue;
    files.push_back({{"path", file.path},
                     {"component", file.component},
                     {"bytes", file.bytes},
                     {"types", file.types}});
    if (!flags.quiet && !flags.json) {
      std::cerr << visible(file.path) << ": " << file.component << ", " << human_bytes(file.bytes)
                << " (" << listed(file.types) << ")\n";
    }
  }
  if (flags.json) {
    print_json({{"output", flags.request.output},
                {"to", flags.target},
                {"files", files},
                {"seconds", result.seconds}});
  }
}

int run_convert(ConvertFlags& flags) {
  ConvertRequest& request = flags.request;
  request.target = from_name<ConvertTarget>(flags.target).value();
  request.components = components_of(flags.components);
  request.num_threads = flags.load.num_threads;
  request.source = resolve_model(flags.load.model, flags.load.parts);
  const InterruptGuard interrupt;
  request.cancel = interrupt.token();
  ConvertResult result;
  {
    ProgressBar bar(!flags.quiet);
    request.on_progress = [&bar](const QuantizeProgress& progress) { bar.show(progress); };
    result = convert_model(request);
  }
  report(flags, result);
  return kExitSuccess;
}

}  // namespace

Command add_convert_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("convert", "Write a model as other programs read it");
  const auto flags = std::make_shared<ConvertFlags>();
  add_model_flag(*app, flags->load);
  app->add_option("--to", flags->target,
                  "diffusers: a model folder. comfyui: safetensors files below diffusion_models, "
                  "text_encoders and vae. gguf: a GGUF file for each component")
      ->required()
      ->check(CLI::IsMember({"diffusers", "comfyui", "gguf"}).description(""))
      ->type_name("diffusers|comfyui|gguf");
  app->add_option("--type", flags->request.type,
                  "of the weights. gguf: Q8_0 (default), Q6_K, Q5_K, Q4_K and others. comfyui: "
                  "BF16, F8_E4M3, I8, F16, F32. diffusers: BF16, F16, F32. Default of the last "
                  "two: as the model has them, what is quantised in BF16")
      ->type_name("TYPE");
  app->add_option("--components", flags->components,
                  "of transformer, text_encoder, pe and vae, those to write; default: for gguf the "
                  "transformer, for comfyui all but pe")
      ->type_name("LIST");
  app->add_option("--output,-o", flags->request.output,
                  "a folder; for a single component also a file (.gguf, .safetensors)")
      ->required()
      ->type_name("PATH");
  app->add_flag("--force", flags->request.force, "write over files that are there");
  add_threads_flag(*app, flags->load);
  app->add_flag("--json", flags->json, "print figures as JSON");
  app->add_flag("--quiet,-q", flags->quiet, "no progress, no notes, only errors");
  app->footer(kConvertExamples);
  return {app, [flags] { return run_convert(*flags); }};
}

}  // namespace ernie_image
