#include "commands/commands.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "adapters/adapter_file.h"
#include "backend/registry.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "common/generation.h"
#include "common/image_record.h"
#include "common/latents_file.h"
#include "common/lora.h"
#include "common/output_paths.h"
#include "common/picture_flags.h"
#include "io/image_file.h"
#include "io/json.h"
#include "io/model_folder.h"
#include "io/picture_reader.h"
#include "request/request.h"

namespace ernie_image {
namespace {

constexpr const char* kRerunExamples =
    "Examples:\n"
    "  ernie-image rerun apple.png\n"
    "  ernie-image rerun apple.png --model models/ERNIE-Image-Turbo --output again.png\n"
    "Exit codes: 0 equal pixels, 1 different or impossible, 2 wrong usage, 130 stopped.";

struct RerunFlags {
  std::string file;
  LoadOptions load;
  std::string device;  ///< empty: the recorded one
  std::string latents;
  std::string image;
  std::string mask;
  std::vector<std::string> loras;  ///< files or folders
  std::string lora_directory;
  std::string output;
  bool json = false;
  bool quiet = false;
};

struct Comparison {
  std::int64_t differing_pixels = 0;
  int max_difference = 0;  ///< of 255
};

/// Of two pictures of the same size.
Comparison compare(const Image& a, const Image& b) {
  Comparison result;
  for (std::size_t i = 0; i < a.rgb.size(); i += 3) {
    int difference = 0;
    for (std::size_t c = i; c < i + 3; ++c) {
      difference = std::max(difference, std::abs(int{a.rgb[c]} - int{b.rgb[c]}));
    }
    result.differing_pixels += difference > 0;
    result.max_difference = std::max(result.max_difference, difference);
  }
  return result;
}

/// "owner/name", and nothing that could be another path.
bool is_hub_id(const std::string& name) {
  return std::count(name.begin(), name.end(), '/') == 1 && name.front() != '/' &&
         name.front() != '.' && name.back() != '/' && name.find("..") == std::string::npos;
}

bool has_content(const LoadOptions& model, const std::string& hash) {
  try {
    return content_hash(resolve_model(model.model, model.parts)) == hash;
  } catch (const Error&) {
    return false;
  }
}

LoadOptions model_of(const std::string& model, const ModelParts& parts = {}) {
  LoadOptions options;
  options.model = model;
  options.parts = parts;
  return options;
}

/// The model on this machine that made the picture, in `model` and `parts`. Throws
/// Error(not_found).
LoadOptions find_model(const RerunFlags& flags, const ImageRecord& record) {
  const bool named = !flags.load.model.empty() || flags.load.parts != ModelParts{};
  std::vector<LoadOptions> candidates = {model_of(""), model_of(kEmbeddedModel)};
  if (named) {
    candidates = {model_of(flags.load.model, flags.load.parts)};
  } else if (!record.model_path.empty()) {
    candidates = {model_of(record.model_path, record.load.parts)};
  } else if (is_hub_id(record.model_name)) {
    candidates.insert(candidates.begin(), model_of(record.model_name));
  }
  for (const LoadOptions& candidate : candidates) {
    if (has_content(candidate, record.model_content_hash)) return candidate;
  }
  if (named)
    resolve_model(candidates.front().model, candidates.front().parts);  // throws if it is not there
  throw Error(ErrorKind::not_found,
              flags.file + " was made with the model " + printable(record.model_name) +
                  " (content hash " + printable(record.model_content_hash.substr(0, 16)) +
                  "), which " +
                  (named ? "is not the one that is named"
                         : "was not found; name its folder or file with --model"));
}

/// The recorded device, unless another is named.
std::string device_of(const RerunFlags& flags, const ImageRecord& record) {
  if (!flags.device.empty()) return flags.device;
  try {
    split_device_list(record.load.device);
  } catch (const Error&) {
    throw Error(ErrorKind::unsupported, flags.file + " was made on the device " +
                                            printable(record.load.device) +
                                            ", which this build does not have; name another with "
                                            "--device");
  }
  return record.load.device;
}

/// On another device than the recorded one.
void keep_options_of_device(LoadOptions& load) {
  const std::vector<DeviceOption>& known = device_kind(load.device).options;
  std::erase_if(load.device_options, [&](const auto& option) {
    return std::ranges::count(known, option.first, &DeviceOption::name) == 0;
  });
  // What is shared out among several cards one card holds.
  if (split_device_list(load.device).size() == 1) load.device_options.erase("parallel_weights");
}

LoadOptions load_options(const RerunFlags& flags, const ImageRecord& record) {
  LoadOptions load = record.load;
  load.device = device_of(flags, record);
  if (!flags.device.empty()) keep_options_of_device(load);
  const LoadOptions model = find_model(flags, record);
  load.model = model.model;
  load.parts = model.parts;
  load.num_threads = flags.load.num_threads;
  const std::vector<std::string> kernels = cpu_kernel_names();
  if (std::find(kernels.begin(), kernels.end(), load.cpu_kernels) == kernels.end()) {
    load.cpu_kernels = "auto";
  }
  return load;
}

/// What about this run differs from the recorded one, as an explanation of other pixels.
std::vector<std::string> differences(const ImageRecord& record, const ImageMetadata& metadata,
                                     const LoadOptions& load) {
  std::vector<std::string> result;
  const auto parameters = metadata.find(kParametersChunk);
  if (parameters == metadata.end() ||
      parameters->second != image_metadata(record).at(kParametersChunk)) {
    result.push_back(
        "the text of the picture was rewritten by another program: its two text chunks do not say "
        "the same");
  }
  if (record.version != version()) {
    result.push_back("made by version " + printable(record.version) + ", this is " + version());
  }
  if (record.load.device != load.device) {
    result.push_back("made on the device " + printable(record.load.device) + ", this run used " +
                     load.device);
  }
  if (record.load.cpu_kernels != kernels_used(load)) {
    result.push_back("made with the CPU kernels " + printable(record.load.cpu_kernels) +
                     ", this run used " + kernels_used(load));
  }
  return result;
}

ImageFile read_recorded_image(const std::string& path) {
  ImageFile file = read_image(path);
  if (!file.metadata.contains(kRecordChunk)) {
    throw Error(ErrorKind::corrupt_file,
                path + " has no record of how it was made (a text chunk \"" + kRecordChunk +
                    "\", or a note in its EXIF): it was not made by this program, another program "
                    "has stripped it, or it did not fit into a JPEG");
  }
  if (!file.alpha.empty())
    throw Error(ErrorKind::unsupported,
                path +
                    " is transparent in places, which no picture of this program is: another "
                    "program has changed it");
  return file;
}

/// The files that the picture was made from, which it does not hold: all that are missing at once.
void require_inputs(const RerunFlags& flags, const ImageRecord& record) {
  const PictureUse& picture = record.picture;
  std::string missing;
  const auto require = [&](bool is_needed, const std::string& given, const char* flag) {
    if (!is_needed || !given.empty()) return;
    missing += (missing.empty() ? "" : " and ") + std::string(flag) + " FILE";
  };
  require(!record.latents_sha256.empty(), flags.latents, "--latents");
  require(!picture.sha256.empty(), flags.image, "--image");
  // The mask of a picture that was only extended is made again.
  require(!picture.mask_sha256.empty() && !picture.handling.outpaint.any(), flags.mask, "--mask");
  if (missing.empty()) return;
  usage_error(flags.file + " was made from files that it does not hold; pass " + missing);
}

void check_size(const std::string& path, const Image& image, const Request& request) {
  // Sides of a second run are what its scale makes of the first's, rounded as the model wants them.
  if (request.hires_scale && request.hires_width_px == 0) return;
  const auto [width, height] = wants_hires(request)
                                   ? hires_size(request, 1)
                                   : std::pair(request.width_px, request.height_px);
  if (image.width_px == width && image.height_px == height) return;
  throw Error(ErrorKind::corrupt_file,
              path + " is " + std::to_string(image.width_px) + "x" +
                  std::to_string(image.height_px) + ", but its record says " +
                  std::to_string(request.width_px) + "x" + std::to_string(request.height_px));
}

void add_latents(const RerunFlags& flags, const ImageRecord& record, const ModelInfo& info,
                 Request& request) {
  if (record.latents_sha256.empty()) return;
  request.latents = read_latents(flags.latents, request, info);
  if (latents_hash(request.latents) != record.latents_sha256) {
    throw Error(ErrorKind::not_found,
                "--latents: " + flags.latents + " is not what " + flags.file + " was made from");
  }
}

void add_picture(const RerunFlags& flags, const ImageRecord& record, const ModelInfo& info,
                 Request& request) {
  if (record.picture.sha256.empty()) return;
  const bool has_mask = !record.picture.mask_sha256.empty();
  PictureFlags picture;
  picture.file = flags.image;
  if (has_mask) picture.mask = flags.mask;
  picture.handling = record.picture.handling;
  PictureOfFlags(picture).put_into(request, info);
  if (picture_hash(request.picture.image) != record.picture.sha256) {
    throw Error(ErrorKind::not_found,
                "--image: " + flags.image + " is not what " + flags.file + " was made from");
  }
  if (!record.picture.mask_sha256.empty() &&
      mask_hash(request.picture) != record.picture.mask_sha256) {
    throw Error(ErrorKind::not_found, (flags.mask.empty() ? "no mask" : "--mask: " + flags.mask) +
                                          " is not what " + flags.file + " was made with");
  }
}

std::string adapter_hash(const std::string& path) { return AdapterFile::open(path).content_hash(); }

/// The adapter of that hash among the files of --lora and those of --lora-dir.
std::string find_adapter(const RerunFlags& flags, const AdapterUse& use) {
  std::vector<std::string> candidates = flags.loras;
  if (!flags.lora_directory.empty()) {
    std::vector<std::string> names = list_loras(flags.lora_directory);
    // The one that is still called so is the likeliest.
    std::stable_partition(names.begin(), names.end(),
                          [&](const auto& name) { return name == use.name; });
    for (const std::string& name : names)
      candidates.push_back(find_lora(flags.lora_directory, name));
  }
  for (const std::string& candidate : candidates) {
    const bool is_named = std::ranges::find(flags.loras, candidate) != flags.loras.end();
    try {
      if (adapter_hash(candidate) == use.sha256) return candidate;
    } catch (const Error&) {
      if (is_named) throw;  // a broken neighbour in the folder is nobody's business
    }
  }
  throw Error(ErrorKind::not_found,
              flags.file + " was made with the LoRA " + printable(use.name) + " (sha256 " +
                  printable(use.sha256.substr(0, 16)) + "), which " +
                  (candidates.empty() ? "was not named; give its file with --lora, or its folder "
                                        "with --lora-dir"
                                      : "is none of the " + std::to_string(candidates.size()) +
                                            " of --lora and --lora-dir"));
}

void add_adapters(const RerunFlags& flags, const ImageRecord& record, Request& request) {
  for (std::size_t i = 0; i < record.adapters.size(); ++i)
    request.adapters[i].path = find_adapter(flags, record.adapters[i]);
}

/// Makes the whole batch again and returns the one image; writes it if asked to.
Image make_again(const RerunFlags& flags, const ImageRecord& record, const LoadOptions& load) {
  const InterruptGuard interrupt;
  Pipeline pipeline = Pipeline::load(load);
  Request request = record.request;
  add_latents(flags, record, pipeline.info(), request);
  add_picture(flags, record, pipeline.info(), request);
  add_adapters(flags, record, request);
  Result result = generate_with_progress(pipeline, request, interrupt, !flags.quiet);
  Image image = std::move(result.images[static_cast<std::size_t>(record.image_index)]);
  if (!flags.output.empty()) {
    ImageRecord again = make_image_record(pipeline.info(), load, request);
    again.image_index = record.image_index;
    again.original_prompts = record.original_prompts;
    again.picture.handling = record.picture.handling;
    again.adapters = result.adapters;
    write_image(flags.output, image, ImageEncoding{}.quality, image_metadata(again));
  }
  return image;
}

/// The picture as the file had it, with what a lossy format loses.
Image as_encoded(Image image, const ImageEncoding& encoding) {
  if (encoding.format == ImageFormat::png) return image;
  const std::vector<std::uint8_t> bytes = encode_image(image, encoding, {});
  return read_picture(std::as_bytes(std::span(bytes)), "the picture as made again");
}

/// What the record asks for and cannot be had is no mistake of the command line.
Image make_again_or_say_why(const RerunFlags& flags, const ImageRecord& record,
                            const LoadOptions& load) {
  try {
    return make_again(flags, record, load);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::invalid_argument) throw;
    throw Error(ErrorKind::unsupported, flags.file + " cannot be made again: " + error.what());
  }
}

std::string verdict_text(const Comparison& comparison, const Image& image,
                         const std::vector<std::string>& reasons) {
  const std::string pixels =
      std::to_string(static_cast<std::int64_t>(image.width_px) * image.height_px);
  if (comparison.differing_pixels == 0) return "equal: all " + pixels + " pixels\n";
  std::string text = "different: " + std::to_string(comparison.differing_pixels) + " of " + pixels +
                     " pixels, by at most " + std::to_string(comparison.max_difference) +
                     " of 255\n";
  for (const std::string& reason : reasons) text += "  " + reason + "\n";
  if (!reasons.empty()) return text;
  return text +
         "  nothing recorded differs; what no record says may: another processor or build of the "
         "program (another compiler or library, another branch of the same kernel set), the "
         "picture "
         "edited, its text rewritten by another program, weights of other values (the content hash "
         "covers names, types and shapes), other tiles while decoding\n";
}

void print_verdict(const RerunFlags& flags, const Comparison& comparison, const Image& image,
                   const std::vector<std::string>& reasons) {
  if (!flags.json) {
    print(verdict_text(comparison, image, reasons));
    return;
  }
  print_json({{"file", flags.file},
              {"equal", comparison.differing_pixels == 0},
              {"differing_pixels", comparison.differing_pixels},
              {"max_difference", comparison.max_difference},
              {"differences_of_runs", reasons}});
}

int compare_with_rerun(const RerunFlags& flags) {
  if (!flags.output.empty()) {
    image_format_of(flags.output);  // throws for an extension that cannot be written
    require_writable("--output", flags.output);
  }
  const ImageFile file = read_recorded_image(flags.file);
  const ImageRecord record = parse_image_record(flags.file, file.metadata.at(kRecordChunk));
  require_inputs(flags, record);
  if (!record.picture.handling.area_padding_px) check_size(flags.file, file.image, record.request);
  if (!flags.output.empty()) {
    check_encodable(file.image.width_px, file.image.height_px,
                    {image_format_of(flags.output), ImageEncoding{}.quality},
                    image_metadata(record));
  }
  const LoadOptions load = load_options(flags, record);
  const Image again = as_encoded(make_again_or_say_why(flags, record, load), file.encoding);
  const Comparison comparison = compare(file.image, again);
  print_verdict(flags, comparison, again, differences(record, file.metadata, load));
  return comparison.differing_pixels == 0 ? kExitSuccess : kExitFailure;
}

}  // namespace

Command add_rerun_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "rerun", "Make a picture of `generate` again and say whether the pixels are equal");
  const auto flags = std::make_shared<RerunFlags>();
  app->add_option("file", flags->file, "a picture that `generate` wrote")
      ->required()
      ->type_name("FILE");
  add_model_flag(*app, flags->load);
  add_parts_flags(*app, flags->load.parts);
  add_device_name_flag(*app, flags->device, "default: the recorded one");
  add_threads_flag(*app, flags->load);
  app->add_option("--latents", flags->latents, "the initial latents, if they were given")
      ->type_name("FILE.safetensors");
  app->add_option("--image", flags->image, "the picture that it was made from, if there was one")
      ->type_name("FILE");
  app->add_option("--mask", flags->mask, "the mask that it was made with, if there was one")
      ->type_name("FILE");
  app->add_option("--lora", flags->loras,
                  "a LoRA that the picture was made with; repeat it for more")
      ->allow_extra_args(false)
      ->type_name("FILE");
  app->add_option("--lora-dir", flags->lora_directory, "folder in which to look for its LoRAs")
      ->type_name("FOLDER");
  app->add_option("--output,-o", flags->output, "also write the new picture")->type_name("FILE");
  app->add_flag("--json", flags->json, "print the verdict as JSON");
  app->add_flag("--quiet,-q", flags->quiet, "no progress");
  app->footer(kRerunExamples);
  return {app, [flags] { return compare_with_rerun(*flags); }};
}

}  // namespace ernie_image
