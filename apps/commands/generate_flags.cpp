#include "commands/generate_flags.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <unistd.h>

#include <CLI/CLI.hpp>

#include "common/exit_code.h"
#include "common/output_paths.h"
#include "common/parse_values.h"
#include "common/text_input.h"
#include "io/image_file.h"
#include "io/json.h"
#include "request/request.h"

namespace ernie_image {
namespace {

constexpr const char* kExample =
    "\nExample: ernie-image generate \"a red apple on a blue background\" --output apple.png";
constexpr const char* kStandardInput = "-";

constexpr const char* kGenerateExamples =
    "Examples:\n"
    "  ernie-image generate \"a red apple on a blue background\"\n"
    "  ernie-image generate -p \"a red apple on a blue background\" -o apple.png\n"
    "  ernie-image generate -m baidu/ERNIE-Image-Turbo -p \"a lighthouse at dusk\" -W 1264 -H 848 "
    "-o lighthouse.webp\n"
    "  ernie-image generate -p \"the same in winter\" --image summer.jpg --strength 0.6 -o "
    "winter.png\n"
    "  ernie-image generate --batch pictures.jsonl -o pictures/\n"
    "  ernie-image generate -p \"a cat on the bench\" --image park.jpg --mask bench.png --strength "
    "1 "
    "-o cat.png\n"
    "  ernie-image generate --prompt-file prompts.txt --seed 1,2,3 -o picture-%03d.png --json\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C or SIGTERM.";

void add_prompt_flags(CLI::App& app, GenerateFlags& flags) {
  app.add_option_function<std::string>(
         "prompt",
         [&flags](const std::string& text) {
           flags.prompt = text;
           flags.has_prompt = true;
         },
         "what to draw, in quotes")
      ->type_name("TEXT");
  app.add_option("--prompt,-p", flags.request.prompts,
                 "the same; repeat it for a batch; - is all of standard input")
      ->allow_extra_args(false)
      ->type_name("TEXT");
  app.add_option(
         "--prompt-file", flags.prompt_file,
         "more prompts, one a line, UTF-8; blank lines and lines with # in front are skipped; - is "
         "standard input")
      ->type_name("FILE");
  app.add_option(
         "--batch", flags.batch,
         "pictures with settings of their own, JSON objects one a line, e.g. {\"prompt\": "
         "\"a fox\", \"seed\": 7, \"width\": 512, \"output\": \"fox.png\"}; the same command "
         "goes on where it was stopped; - is standard input")
      ->type_name("FILE.jsonl");
  app.add_option("--negative-prompt,-n", flags.request.negative_prompts,
                 "what to avoid, used when the guidance scale is above 1; one for all, or one a "
                 "prompt")
      ->allow_extra_args(false)
      ->type_name("TEXT");
}

/// "2", "1.5" or "1536x1024".
void set_hires(const std::string& text, Request& request) {
  const std::size_t cross = text.find('x');
  request.hires_scale.reset();
  request.hires_width_px = request.hires_height_px = 0;
  if (cross == std::string::npos) {
    request.hires_scale = parse_number("--hires", text, 1, kMaxHiresScale);
    return;
  }
  const auto side = [&](const std::string& part) {
    return static_cast<int>(parse_integer("--hires", part, 1, kMaxSidePx));
  };
  request.hires_width_px = side(text.substr(0, cross));
  request.hires_height_px = side(text.substr(cross + 1));
}

void add_further_run_flags(CLI::App& app, Request& request) {
  app.add_option_function<std::string>(
         "--variation-seed",
         [&request](const std::string& text) {
           request.variation_seeds = parse_seeds("--variation-seed", text);
         },
         "of noise that is mixed into that of --seed, for pictures like another; needs "
         "--variation-strength")
      ->type_name("N[,N...]");
  app.add_option_function<std::string>(
         "--hires", [&request](const std::string& text) { set_hires(text, request); },
         "draw each picture a second time, so many times larger or at that size, from what the "
         "first run made of it")
      ->type_name("SCALE|WxH");
}

/// One seed of a variation is that of the first picture, from which the others count on.
void complete_variation(Request& request) {
  std::vector<std::uint64_t>& seeds = request.variation_seeds;
  const bool has_strength = request.variation_strength.value_or(0) > 0;
  if (seeds.empty() != !has_strength)
    usage_error("--variation-seed and a --variation-strength above 0 need each other");
  while (seeds.size() == 1 && request.seeds.size() > 1) {
    const std::uint64_t first = seeds[0];
    seeds.resize(request.seeds.size());
    for (std::size_t i = 0; i < seeds.size(); ++i) seeds[i] = first + i;
  }
  const bool has_size = wants_hires(request);
  if (!has_size && (request.hires_strength || request.hires_steps != 0))
    usage_error("--hires-strength and --hires-steps need --hires SCALE or WxH");
}

void add_sampling_flags(CLI::App& app, GenerateFlags& flags) {
  Request& request = flags.request;
  add_option_flags(app, request);
  app.add_option_function<std::string>(
         "--seed,-s",
         [&request](const std::string& text) { request.seeds = parse_seeds("--seed", text); },
         "default 42; a list gives each image a generator of its own; `random` or -1 draws one")
      ->type_name("N[,N...]");
  add_further_run_flags(app, request);
  add_integer_flag(app, "--num-images", request.num_images_per_prompt, 1, kMaxImages,
                   "images of each prompt; default 1");
  app.add_option("--latents", flags.latents,
                 "initial latents: a file with the tensor latents.initial [images, C, h, w]")
      ->type_name("FILE.safetensors");
}

void add_output_flags(CLI::App& app, GenerateFlags& flags) {
  app.add_option(
         "--output,-o", flags.output,
         "picture file: .png, .jpg, .jpeg or .webp; or a folder; or - for standard output. "
         "Several images: %d or %03d in the name is the number from 1, else -2, -3 is added. "
         "Default: a PNG named after the day and the prompt")
      ->type_name("FILE|DIR/|-");
  CLI::Option* overwrite = app.add_flag_callback(
      "--overwrite", [&flags] { flags.overwrite = true; },
      "replace pictures that are there already; default: those that --output names, where other "
      "names get a number");
  app.add_flag_callback(
         "--no-overwrite", [&flags] { flags.overwrite = false; },
         "refuse to replace what --output names")
      ->excludes(overwrite);
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
  const std::vector<std::string> lines = split_prompt_lines(read_text("--prompt-file", path));
  if (lines.empty()) usage_error("--prompt-file: " + path + " holds no prompt");
  prompts.insert(prompts.end(), lines.begin(), lines.end());
}

void collect_prompts(GenerateFlags& flags) {
  std::vector<std::string>& prompts = flags.request.prompts;
  if (flags.has_prompt && !prompts.empty()) {
    usage_error("a prompt by itself, " + printable(flags.prompt) +
                ", and --prompt exclude each other; repeat --prompt for several, and put a prompt "
                "of several words in quotes");
  }
  if (flags.has_prompt) prompts = {flags.prompt};
  const auto of_input = std::ranges::count(prompts, kStandardInput);
  if (of_input + (flags.prompt_file == kStandardInput ? 1 : 0) > 1)
    usage_error("standard input (-) can be read once only, and is named as several prompts");
  if (of_input > 0) *std::ranges::find(prompts, kStandardInput) = prompt_of_input();
  if (!flags.prompt_file.empty()) read_prompt_file(flags.prompt_file, prompts);
}

void check_prompts(const Request& request) {
  if (request.prompts.empty()) {
    usage_error(std::string("generate needs a prompt: \"TEXT\", --prompt TEXT or --prompt-file "
                            "FILE") +
                kExample);
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
  const auto check = [&](const std::string& flag, const std::string& path) {
    if (path == kStandardOutput) return;
    require_writable(flag, path,
                     flag == "--output" ? "create it first, or give a name that ends in /, which "
                                          "is a folder that is made"
                                        : "create it first");
    if (flags.overwrite == false && std::filesystem::exists(path))
      throw Error(ErrorKind::io, flag + ": " + path + " is there already, see --overwrite");
    if (!seen.insert(path).second) usage_error(flag + ": " + path + " is written twice");
  };
  for (const std::string& path : paths.images) check("--output", path);
  for (const std::string& path : paths.previews) check("--preview", path);
  if (!flags.save_tensors.empty()) check("--save-tensors", flags.save_tensors);
}

/// A picture as bytes, which is all that standard output then receives.
void check_standard_output(const GenerateFlags& flags) {
  if (image_count(flags.request) != 1)
    usage_error("--output -: standard output takes one picture, not " +
                std::to_string(image_count(flags.request)));
  if (flags.json) usage_error("--output -: the picture goes where --json goes too; leave one out");
  if (isatty(STDOUT_FILENO) == 1)
    usage_error("--output -: standard output is a terminal; lead it to a file or a program");
}

/// Names of the day and the prompts.
std::vector<std::string> default_paths(const GenerateFlags& flags) {
  const std::string folder = output_folder(flags.output);
  std::set<std::string> taken;
  std::vector<std::string> paths;
  for (int i = 0; i < image_count(flags.request); ++i) {
    const std::string name = today() + "-" + name_of_prompt(prompt_of(flags.request, i));
    paths.push_back(free_path(folder + name, flags.overwrite == true, taken));
  }
  return paths;
}

void check_extension(const std::string& output) {
  try {
    image_format_of(output);
  } catch (const Error& error) {
    throw Error(error.kind(), "--output: " + std::string(error.what()) + ", or in / for a folder");
  }
}

GeneratePaths name_outputs(const GenerateFlags& flags) {
  const int images = image_count(flags.request);
  GeneratePaths paths;
  if (flags.output == kStandardOutput) {
    check_standard_output(flags);
    paths.images = {kStandardOutput};
  } else if (flags.output.empty() || is_output_folder(flags.output)) {
    paths.images = default_paths(flags);
    paths.give_way = flags.overwrite != true;
  } else {
    check_extension(flags.output);
    paths.images = output_paths(flags.output, images);
  }
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

void complete_batch_flags(GenerateFlags& flags) {
  const auto refuse = [](bool given, const char* flag) {
    if (given) usage_error(std::string(flag) + " says nothing about the pictures of --batch");
  };
  refuse(flags.has_prompt || !flags.request.prompts.empty(), "--prompt");
  refuse(!flags.prompt_file.empty(), "--prompt-file");
  refuse(flags.request.num_images_per_prompt != 1, "--num-images");
  refuse(flags.request.seeds.size() != 1, "a list of --seed");
  refuse(!flags.latents.empty(), "--latents");
  refuse(!flags.preview.empty(), "--preview");
  refuse(!flags.save_tensors.empty(), "--save-tensors");
  refuse(flags.output == kStandardOutput, "--output -");
  complete_variation(flags.request);
  complete_enhance_flags(flags.enhance);
}

GeneratePaths complete_flags(GenerateFlags& flags) {
  collect_prompts(flags);
  complete_variation(flags.request);
  add_loras(flags.lora, flags.request);
  check_prompts(flags.request);
  complete_enhance_flags(flags.enhance);
  check_picture_flags(flags.request, flags.picture);
  if (flags.trace_blocks && flags.save_tensors.empty()) {
    usage_error("--trace blocks needs --save-tensors FILE.safetensors");
  }
  GeneratePaths paths = name_outputs(flags);
  check_paths(flags, paths);
  return paths;
}

}  // namespace ernie_image
