#include "commands/commands.h"

#include <chrono>
#include <iostream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "adapters/adapter_match.h"
#include "commands/generate_flags.h"
#include "commands/picture_views.h"
#include "commands/run_report.h"
#include "common/console.h"
#include "common/enhancer.h"
#include "common/exit_code.h"
#include "common/generation.h"
#include "common/image_record.h"
#include "common/latents_file.h"
#include "common/tensor_collector.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "memory/memory_sampler.h"
#include "request/request.h"

namespace ernie_image {
namespace {

void write_pictures(const GenerateFlags& flags, const GeneratePaths& paths, ImageRecord record,
                    const Result& result, const InterruptGuard& interrupt) {
  for (std::size_t i = 0; i < result.images.size(); ++i) {
    interrupt.token()->throw_if_requested();
    record.image_index = static_cast<int>(i);
    const Image& image = result.images[i];
    write_image(paths.images[i], image, flags.quality, image_metadata(record));
    if (!paths.previews.empty()) {
      write_image(paths.previews[i], beside_enlarged(image), flags.quality, {});
    }
    if (flags.show) std::cerr << half_blocks(image, terminal_columns());
  }
}

void note_unused_negative_prompt(const Request& request) {
  const bool is_guided = request.guidance_scale.value() > 1;
  if (request.negative_prompts.empty() || is_guided) return;
  std::cerr << "The negative prompt is not used at a guidance scale of 1 or below; see "
               "--guidance-scale.\n";
}

/// What of an adapter's file was not used, which a user would take for a weak adapter.
void note_unused_keys(const Result& result) {
  constexpr std::size_t kMostNamed = 4;
  for (const AdapterUse& use : result.adapters) {
    if (use.unused_keys.empty()) continue;
    std::cerr << "LoRA " << printable(use.name) << ": " << use.used_keys << " of " << use.keys
              << " keys used; the model has nothing for "
              << listed_keys(use.unused_keys, kMostNamed) << "\n";
  }
}

void report(const RunReport& run) {
  if (run.flags.json) {
    print_json(report_json(run));
  } else if (!run.flags.quiet) {
    std::cerr << report_text(run);
  }
}

int run_generate(GenerateFlags& flags) {
  const auto start = std::chrono::steady_clock::now();
  const GeneratePaths paths = complete_flags(flags);
  const InterruptGuard interrupt;
  MemorySampler memory;
  Pipeline pipeline = Pipeline::load(flags.load);
  if (!flags.quiet) note_model(flags.load, pipeline.info());

  read_picture_into(flags.request, flags.picture, pipeline.info());
  Request request = with_defaults(flags.request, pipeline.info().defaults);
  if (!flags.quiet) note_unused_negative_prompt(request);
  if (!flags.latents.empty()) {
    request.latents = read_latents(flags.latents, request, pipeline.info());
  }
  TensorCollector tensors(flags.trace_blocks);
  if (!flags.save_tensors.empty()) request.trace = &tensors;
  std::vector<std::string> original_prompts;
  std::vector<StageMemory> enhancing;
  // The enhancer knows nothing of the picture and would write another one.
  if (!flags.picture.file.empty() && !flags.enhance.enabled) flags.enhance.enabled = false;
  if (should_enhance(flags.enhance, pipeline.info())) {
    original_prompts = request.prompts;
    const Enhancer enhancer(pipeline, flags.load, flags.enhance, interrupt.token());
    for (const Enhancement& written : enhance_prompts(enhancer, request, flags.quiet)) {
      const StageMemory& stage = written.enhanced.memory;
      if (!stage.stage.empty()) enhancing.push_back(stage);
    }
  }
  const Result result = generate_with_progress(pipeline, request, interrupt, !flags.quiet);

  ImageRecord record = make_image_record(pipeline.info(), flags.load, request);
  record.original_prompts = original_prompts;
  record.picture_fit = flags.picture.fit;
  record.adapters = result.adapters;
  if (!flags.quiet) note_unused_keys(result);
  write_pictures(flags, paths, record, result, interrupt);
  if (!flags.save_tensors.empty()) write_safetensors(flags.save_tensors, tensors.tensors());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  report({flags, paths, pipeline.info(), request, original_prompts, result, elapsed.count(),
          memory.peak(), enhancing});
  return kExitSuccess;
}

}  // namespace

Command add_generate_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("generate", "Make pictures from text");
  const auto flags = std::make_shared<GenerateFlags>();
  add_generate_flags(*app, *flags);
  return {app, [flags] { return run_generate(*flags); }};
}

}  // namespace ernie_image
