#include "commands/commands.h"

#include <iostream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "common/console.h"
#include "common/enhance_flags.h"
#include "common/enhancer.h"
#include "common/exit_code.h"
#include "common/interrupt.h"
#include "common/limits.h"
#include "common/parse_values.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr const char* kEnhanceExamples =
    "Examples:\n"
    "  ernie-image enhance --prompt \"king of the jungle\"\n"
    "  ernie-image enhance -m baidu/ERNIE-Image-Turbo -p \"a lighthouse\" -W 848 -H 1264 --json\n"
    "  ernie-image enhance -p \"a lighthouse\" --pe-url http://localhost:8000/v1 --pe-model pe";

struct EnhanceCommandFlags {
  LoadOptions load;
  EnhanceFlags enhance;
  std::string prompt;
  int width_px = 0;
  int height_px = 0;
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
  require_utf8("the prompt", flags.prompt);
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
  const Enhancement enhancement =
      enhancer.enhance(flags.prompt, flags.width_px > 0 ? flags.width_px : info.default_width_px,
                       flags.height_px > 0 ? flags.height_px : info.default_height_px, print_piece);
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
  app->add_option("--prompt,-p", flags->prompt, "what to draw")->required()->type_name("TEXT");
  add_load_flags(*app, flags->load);
  add_integer_flag(*app, "--height,-H", flags->height_px, 1, kMaxSidePx,
                   "of the picture, pixels; default: the model's own size");
  add_integer_flag(*app, "--width,-W", flags->width_px, 1, kMaxSidePx,
                   "of the picture, pixels; default: the model's own size");
  add_enhancer_flags(*app, flags->enhance);
  app->add_flag("--json", flags->json, "print the text with its ids and speed as JSON");
  app->add_flag("--quiet,-q", flags->quiet, "no notes, only errors");
  app->footer(kEnhanceExamples);
  return {app, [flags] { return run_enhance(*flags); }};
}

}  // namespace ernie_image
