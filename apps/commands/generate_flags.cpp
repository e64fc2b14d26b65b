#include "commands/generate_flags.h"

#include <set>

#include <CLI/CLI.hpp>

#include "common/exit_code.h"
#include "common/output_paths.h"
#include "common/parse_values.h"
#include "common/text_input.h"
#include "io/image_file.h"
#include "request/request.h"

namespace ernie_image {
namespace {

constexpr const char* kExample =
    "\nExample: ernie-image generate --prompt \"a red apple on a blue background\" --output "
    "apple.png";

constexpr const char* kGenerateExamples =
    "Examples:\n"
    "  ernie-image generate -p \"a red apple on a blue background\" -o apple.png\n"
    "  ernie-image generate -m baidu/ERNIE-Image-Turbo -p \"a lighthouse at dusk\" -W 1264 -H 848 "
    "-o lighthouse.webp\n"
    "  ernie-image generate -p \"the same in winter\" --image summer.jpg --strength 0.6 -o "
    "winter.png\n"
    "  ernie-image generate --prompt-file prompts.txt --seed 1,2,3 -o picture-%03d.png --json\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C or SIGTERM.";

void add_prompt_flags(CLI::App& app, GenerateFlags& flags) {
  app.add_option("--prompt,-p", flags.request.prompts, "what to draw; repeat it for a batch")
      ->allow_extra_args(false)
      ->type_name("TEXT");
  app.add_option("--prompt-file", flags.prompt_file,
                 "more prompts, one a line, UTF-8; blank lines are skipped; - is standard input")
      ->type_name("FILE");
  app.add_option("--negative-prompt,-n", flags.request.negative_prompts,
                 "what to avoid, used when the guidance scale is above 1; one for all, or one a "
                 "prompt")
      ->allow_extra_args(false)
      ->type_name("TEXT");
}

void add_sampling_flags(CLI::App& app, GenerateFlags& flags) {
  Request& request = flags.request;
  add_option_flags(app, request);
  app.add_option_function<std::string>(
         "--seed,-s",
         [&request](const std::string& text) { request.seeds = parse_seeds("--seed", text); },
         "default 42; a list gives each image a generator of its own; `random` draws one")
      ->type_name("N[,N...]");
  add_integer_flag(app, "--num-images", request.num_images_per_prompt, 1, kMaxImages,
                   "images of each prompt; default 1");
  app.add_option("--latents", flags.latents,
                 "initial latents: a file with the tensor latents.initial [images, C, h, w]")
      ->type_name("FILE.safetensors");
}

void add_output_flags(CLI::App& app, GenerateFlags& flags) {
  app.add_option("--output,-o", flags.output,
                 "picture file: .png, .jpg, .jpeg or .webp. Several images: %d or %03d in the name "
                 "is the number from 1, else -2, -3 is added")
      ->type_name("FILE");
  add_integer_flag(app, "--quality", flags.quality, 1, 100,
                   "of JPEG and WebP, default 95; WebP at 100 is lossless");
  app.add_option("--preview", flags.preview,
                 "also write the picture beside a copy enlarged 6 times, named like --output")
      ->type_name("FILE.png");
  app.add_flag("--show", flags.show, "also show the picture in the terminal, in 24-bit colours");
  app.add_option("--save-tensors", flags.save_tensors,
                 "write the tensors between the stages of the run")
      ->type_name("FILE.safetensors");
  app.add_option_function<std::string>(
         "--trace", [&flags](const std::string&) { flags.trace_blocks = true; },
         "blocks: --save-tensors writes every dit.* and vae.* tensor too")
      ->check(CLI::IsMember({"blocks"}).description(""))
      ->type_name("blocks");
  app.add_flag("--json", flags.json, "print seconds, memory and files as JSON on stdout");
  app.add_flag("--quiet,-q", flags.quiet, "no progress, no notes, only errors");
}

void read_prompt_file(const std::string& path, std::vector<std::string>& prompts) {
  const std::vector<std::string> lines = split_prompt_lines(read_text(path));
  if (lines.empty()) usage_error("--prompt-file: " + path + " holds no prompt");
  prompts.insert(prompts.end(), lines.begin(), lines.end());
}

void check_prompts(const Request& request) {
  if (request.prompts.empty()) {
    usage_error(std::string("generate needs --prompt TEXT or --prompt-file FILE") + kExample);
  }
  for (const std::string& prompt : request.prompts) require_utf8("the prompt", prompt);
  for (const std::string& prompt : request.negative_prompts) {
    require_utf8("the negative prompt", prompt);
  }
  check_request(request);
}

/// Every file that the run writes, each checked before any work.
void check_paths(const GenerateFlags& flags, const GeneratePaths& paths) {
  std::set<std::string> seen;
  const auto check = [&seen](const std::string& flag, const std::string& path) {
    require_writable(flag, path);
    if (!seen.insert(path).second) usage_error(flag + ": " + path + " is written twice");
  };
  for (const std::string& path : paths.images) check("--output", path);
  for (const std::string& path : paths.previews) check("--preview", path);
  if (!flags.save_tensors.empty()) check("--save-tensors", flags.save_tensors);
}

GeneratePaths name_outputs(const GenerateFlags& flags) {
  if (flags.output.empty()) usage_error(std::string("generate needs --output FILE") + kExample);
  image_format_of(flags.output);  // throws for an extension that cannot be written
  const int images = image_count(flags.request);
  GeneratePaths paths;
  paths.images = output_paths(flags.output, images);
  if (!flags.preview.empty()) {
    if (image_format_of(flags.preview) != ImageFormat::png) {
      usage_error("--preview: " + flags.preview + " must end in .png");
    }
    paths.previews = output_paths(flags.preview, images);
  }
  return paths;
}

}  // namespace

void add_generate_flags(CLI::App& app, GenerateFlags& flags) {
  add_prompt_flags(app, flags);
  add_load_flags(app, flags.load);
  add_lora_flags(app, flags.lora);
  add_sampling_flags(app, flags);
  add_picture_flags(app, flags.request, flags.picture);
  add_enhance_switch(app, flags.enhance, "default: if it has one and no --image is given");
  add_enhancer_flags(app, flags.enhance);
  add_output_flags(app, flags);
  app.footer(kGenerateExamples);
}

GeneratePaths complete_flags(GenerateFlags& flags) {
  if (!flags.prompt_file.empty()) read_prompt_file(flags.prompt_file, flags.request.prompts);
  add_loras(flags.lora, flags.request);
  check_prompts(flags.request);
  complete_enhance_flags(flags.enhance);
  check_picture_flags(flags.picture);
  if (flags.trace_blocks && flags.save_tensors.empty()) {
    usage_error("--trace blocks needs --save-tensors FILE.safetensors");
  }
  GeneratePaths paths = name_outputs(flags);
  check_paths(flags, paths);
  return paths;
}

}  // namespace ernie_image
