#include "commands/commands.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <set>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "adapters/adapter_match.h"
#include "commands/generate_batch.h"
#include "commands/generate_flags.h"
#include "commands/image_views.h"
#include "commands/run_report.h"
#include "common/console.h"
#include "common/enhancer.h"
#include "common/exit_code.h"
#include "common/generation.h"
#include "common/image_record.h"
#include "common/latents_file.h"
#include "common/output_paths.h"
#include "common/tensor_collector.h"
#include "io/json.h"
#include "io/model_folder.h"
#include "io/safetensors.h"
#include "memory/memory_sampler.h"
#include "request/request.h"

namespace ernie_image {
namespace {

/// A name that nobody asked for gives way to a file that has appeared meanwhile.
void write_picture(const GenerateFlags& flags, const GeneratePaths& paths, std::string& path,
                   const Image& image, const ImageMetadata& metadata) {
  if (path == kStandardOutput) return print_png(image, metadata);
  if (!paths.give_way) return write_image(path, image, flags.quality, metadata);
  std::set<std::string> taken(paths.images.begin(), paths.images.end());
  const std::string stem = path.substr(0, path.size() - std::strlen(".png"));
  while (!write_new_png(path, image, metadata)) path = free_path(stem, false, taken);
}

void write_images(const GenerateFlags& flags, GeneratePaths& paths, ImageRecord record,
                  const Result& result, const InterruptGuard& interrupt) {
  for (std::size_t i = 0; i < result.images.size(); ++i) {
    interrupt.token()->throw_if_requested();
    record.image_index = static_cast<int>(i);
    const Image& image = result.images[i];
    write_picture(flags, paths, paths.images[i], image, image_metadata(record));
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

/// Which is asked for on purpose at times, and more often by a variable that was never set.
void note_empty_prompt(const Request& request) {
  if (std::ranges::none_of(request.prompts, is_blank)) return;
  std::cerr << "The prompt is empty: the model draws whatever comes, and the enhancer leaves it "
               "alone.\n";
}

/// The embedded model has seen pictures of one size only, and draws noise at others.
void note_foreign_size(const Request& request, const ModelInfo& info) {
  const Request& own = info.defaults;
  if (info.path != kEmbeddedModel ||
      (request.width_px == own.width_px && request.height_px == own.height_px))
    return;
  std::cerr << "Warning: the embedded model " << info.name << " draws " << own.width_px << "x"
            << own.height_px << " and was trained at no other size; at " << request.width_px << "x"
            << request.height_px << " expect noise. Another model is named with --model.\n";
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
  if (run.flags.json && !run.flags.batch.empty()) {
    print(report_json(run).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } else if (run.flags.json) {
    print_json(report_json(run));
  } else if (!run.flags.quiet) {
    std::cerr << report_text(run);
  }
}

/// What the pictures' formats have no room for, before any is drawn.
void check_formats(const GenerateFlags& flags, const ModelInfo& info, const Request& request,
                   const GeneratePaths& paths) {
  ImageRecord record = make_image_record(info, flags.load, request);
  for (const Adapter& adapter : request.adapters) {
    AdapterUse use;
    use.name = std::filesystem::path(adapter.path).stem().string();
    use.strength = adapter.strength;
    record.adapters.push_back(std::move(use));
  }
  for (const std::string& path : paths.images) {
    if (path == kStandardOutput) continue;
    record.image_index = static_cast<int>(&path - paths.images.data());
    const ImageEncoding encoding{image_format_of(path), flags.quality};
    const ImageMetadata metadata =
        encoding.format == ImageFormat::jpeg ? image_metadata(record) : ImageMetadata{};
    try {
      check_encodable(request.width_px, request.height_px, encoding, metadata);
    } catch (const Error& error) {
      throw Error(error.kind(), "--output: " + path + ": " + error.what());
    }
  }
}

/// A loaded model and what draws with it.
class Session {
 public:
  explicit Session(GenerateFlags& flags) : flags_(flags), pipeline_(Pipeline::load(flags.load)) {
    if (!flags_.quiet) note_model(flags_.load, pipeline_.info());
    // The enhancer knows nothing of the picture and would write another one.
    if (!flags_.picture.file.empty() && !flags_.enhance.enabled) flags_.enhance.enabled = false;
    if (should_enhance(flags_.enhance, pipeline_.info()))
      enhancer_.emplace(pipeline_, flags_.load, flags_.enhance, interrupt_.token());
  }

  void draw(Request request, GeneratePaths paths);
  const ModelInfo& info() const { return pipeline_.info(); }
  bool enhances() const { return enhancer_.has_value(); }
  /// With the picture to begin with, and the model's defaults. Throws Error for sizes that the
  /// model cannot draw.
  Request completed(Request request);

 private:
  std::vector<StageMemory> enhance(Request& request) const;

  GenerateFlags& flags_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  InterruptGuard interrupt_;
  MemorySampler memory_;
  Pipeline pipeline_;
  std::optional<Enhancer> enhancer_;
  std::optional<PictureOfFlags> picture_;  // once it was asked for
};

Request Session::completed(Request request) {
  if (!picture_) picture_.emplace(flags_.picture);
  picture_->put_into(request, info());
  request = with_defaults(std::move(request), info().defaults);
  check_sides(request, info().size_multiple_px);
  return request;
}

std::vector<StageMemory> Session::enhance(Request& request) const {
  std::vector<StageMemory> stages;
  for (const Enhancement& written : enhance_prompts(*enhancer_, request, flags_.quiet)) {
    const StageMemory& stage = written.enhanced.memory;
    if (!stage.stage.empty()) stages.push_back(stage);
  }
  return stages;
}

void Session::draw(Request request, GeneratePaths paths) {
  const ModelInfo& model = info();
  request = completed(std::move(request));
  if (!flags_.quiet) {
    note_empty_prompt(request);
    note_unused_negative_prompt(request);
    note_foreign_size(request, model);
  }
  if (!flags_.latents.empty()) request.latents = read_latents(flags_.latents, request, model);
  check_formats(flags_, model, request, paths);
  TensorCollector tensors(flags_.trace_blocks);
  if (!flags_.save_tensors.empty()) request.trace = &tensors;
  std::vector<std::string> original_prompts;
  std::vector<StageMemory> enhancing;
  if (enhancer_) {
    original_prompts = request.prompts;
    enhancing = enhance(request);
    check_formats(flags_, model, request, paths);
  }
  const Result result = generate_with_progress(pipeline_, request, interrupt_, !flags_.quiet);

  ImageRecord record = make_image_record(model, flags_.load, request);
  record.original_prompts = original_prompts;
  record.picture.handling = flags_.picture.handling;
  record.adapters = result.adapters;
  if (!flags_.quiet) note_unused_keys(result);
  write_images(flags_, paths, record, result, interrupt_);
  if (!flags_.save_tensors.empty()) write_safetensors(flags_.save_tensors, tensors.tensors());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  report({flags_, paths, model, request, original_prompts, result, elapsed.count(), memory_.peak(),
          enhancing});
}

int run_batch(GenerateFlags& flags) {
  complete_batch_flags(flags);
  const std::vector<BatchPicture> pictures = read_batch(flags);
  Session session(flags);
  std::vector<const BatchPicture*> missing;
  const auto completed = [&](const Request& request) { return session.completed(request); };
  for (const BatchPicture& picture : pictures) {
    if (!is_made(picture, flags, session.info(), session.enhances(), completed))
      missing.push_back(&picture);
  }
  if (missing.size() < pictures.size() && !flags.quiet) {
    std::cerr << pictures.size() - missing.size() << " of " << pictures.size()
              << " pictures are there already\n";
  }
  for (const BatchPicture* picture : missing) {
    check_formats(flags, session.info(), session.completed(picture->request),
                  {.images = {picture->path}, .previews = {}});
  }
  for (const BatchPicture* picture : missing)
    session.draw(picture->request, {.images = {picture->path}, .previews = {}});
  return kExitSuccess;
}

int run_generate(GenerateFlags& flags) {
  if (!flags.batch.empty()) return run_batch(flags);
  const GeneratePaths paths = complete_flags(flags);
  Session session(flags);
  session.draw(flags.request, paths);
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
