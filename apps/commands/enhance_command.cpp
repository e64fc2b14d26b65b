#include "commands/commands.h"

#include <iostream>
#include <optional>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "common/console.h"
#include "common/enhance_flags.h"
#include "common/enhancer.h"
#include "common/exit_code.h"
#include "common/interrupt.h"
#include "common/parse_values.h"
#include "common/text_input.h"
#include "request/request.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr const char* kEnhanceExamples =
    "Examples:\n"
    "  ernie-image enhance \"king of the jungle\"\n"
    "  ernie-image enhance -m baidu/ERNIE-Image-Turbo \"a lighthouse\" -W 848 -H 1264 --json\n"
    "  ernie-image enhance \"a lighthouse\" --pe-url http://localhost:8000/v1 --pe-model pe";

struct EnhanceCommandFlags {
  LoadOptions load;
  EnhanceFlags enhance;
  std::optional<std::string> prompt;  ///< which may be empty
  Request request;                    ///< the picture's size
  bool json = false;
  bool quiet = false;
};

json to_json(const Enhancement& enhancement) {
  const EnhancedPrompt& enhanced = enhancement.enhanced;
  const auto speed = tokens_per_second(enhancement);
  return {{"prompt", enhancement.original},
          {"text", enhanced.text},
          {"ids", enhanced.ids},
          {"rendered_prompt", enhanced.rendered_prompt},
          {"prompt_tokens", enhanced.prompt_tokens},
          {"finished", enhanced.finished},
          {"cached", enhancement.cached},
          {"tokens_per_second", speed ? json(*speed) : json()},
          {"seconds",
           {{"prefill", enhanced.prefill_seconds},
            {"decode", enhanced.decode_seconds},
            {"total", enhancement.seconds}}}};
}

int run_enhance(EnhanceCommandFlags& flags) {
  if (!flags.prompt) usage_error("enhance needs a prompt: \"TEXT\" or --prompt TEXT");
  if (flags.prompt == "-") flags.prompt = prompt_of_input();
  require_utf8("the prompt", *flags.prompt);
  require_standard_output();
  flags.enhance.enabled = true;
  complete_enhance_flags(flags.enhance);
  const InterruptGuard interrupt;
  Pipeline pipeline = Pipeline::load(flags.load);
  const ModelInfo& info = pipeline.info();
  should_enhance(flags.enhance, info);  // throws if the model has no enhancer
  if (!flags.quiet) note_model(flags.load, info);

  const Enhancer enhancer(pipeline, flags.load, flags.enhance, interrupt.token());
  const auto print_piece = [&flags](const std::string& piece) {
    if (!flags.json) print(piece);
  };
  const Request picture = with_defaults(flags.request, info.defaults);
  const Enhancement enhancement =
      enhancer.enhance(*flags.prompt, picture.width_px, picture.height_px, print_piece);
  if (flags.json) {
    print_json(to_json(enhancement));
  } else {
    print("\n");
  }
  if (!flags.quiet) note_defects(enhancement);
  return kExitSuccess;
}

}  // namespace

Command add_enhance_command(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("enhance", "Rewrite a prompt with the model's language model");
  const auto flags = std::make_shared<EnhanceCommandFlags>();
  add_single_prompt_flags(*app, flags->prompt);
  add_load_flags(*app, flags->load);
  for (const char* side : {"height", "width"}) {
    add_option_flag(*app, side, flags->request,
                    "of the picture, pixels; default: the model's own size");
  }
  add_enhancer_flags(*app, flags->enhance);
  app->add_flag("--json", flags->json, "print the text with its ids and speed as JSON");
  app->add_flag("--quiet,-q", flags->quiet, "no notes, only errors");
  app->footer(kEnhanceExamples);
  return {app, [flags] { return run_enhance(*flags); }};
}

}  // namespace ernie_image
