#include <iostream>

#include <CLI/CLI.hpp>

#include "adapters/adapter_store.h"
#include "commands/commands.h"
#include "commands/lora_tools.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "common/interrupt.h"
#include "common/lora.h"
#include "common/output_paths.h"
#include "core/enum_names.h"
#include "quantize/merge_adapters.h"

namespace ernie_image {
namespace {

constexpr int kMaxRank = 4096;

constexpr const char* kLoraExamples =
    "Examples:\n"
    "  ernie-image lora info style.safetensors\n"
    "  ernie-image lora merge style.safetensors:0.8 -m baidu/ERNIE-Image-Turbo -o merged-Turbo\n"
    "  ernie-image lora convert style.safetensors --to comfyui -o style-comfyui.safetensors\n"
    "  ernie-image lora extract --tuned my-model -m baidu/ERNIE-Image-Turbo --rank 32 \\\n"
    "      -o mine.safetensors\n"
    "  ernie-image lora resize style.safetensors --rank 8 -o small.safetensors";

struct LoraToolFlags {
  LoadOptions load;
  std::vector<std::string> files;
  std::string output;
  std::string naming = "diffusers";
  std::string tuned;
  int rank = 16;
  bool json = false;
};

/// The adapters that are named, and the model that they are for.
class Opened {
 public:
  explicit Opened(const LoraToolFlags& flags)
      : model_(flags.load.model, flags.load.parts), store_(model_.targets) {
    for (const std::string& text : flags.files) {
      const Adapter adapter = parse_lora(text);
      adapters_.push_back({store_.open(adapter.path), adapter.strength});
    }
  }
  LoraModel& model() { return model_; }
  const std::vector<ActiveAdapter>& adapters() const { return adapters_; }
  const LoadedAdapter& first() const { return *adapters_.front().adapter; }

 private:
  LoraModel model_;
  AdapterStore store_;
  std::vector<ActiveAdapter> adapters_;
};

void note_unused(const LoadedAdapter& adapter) {
  constexpr std::size_t kMostNamed = 4;
  const AdapterMatch& match = adapter.match;
  if (match.unmatched.empty()) return;
  std::cerr << adapter.file.path().name << ": " << match.used_keys() << " of " << match.keys
            << " keys used; the model has nothing for " << listed_keys(match.unmatched, kMostNamed)
            << "\n";
}

std::string info_text(const nlohmann::json& info) {
  std::string text = info["file"].get<std::string>() + ": " +
                     std::to_string(info["used_keys"].get<int>()) + " of " +
                     std::to_string(info["keys"].get<int>()) + " keys used\n";
  for (const auto& [kind, count] : info["kinds"].items())
    text += "  " + std::to_string(count.get<int>()) + " modules: " + kind + "\n";
  for (const auto& rank : info["ranks"])
    text += "  rank " + std::to_string(rank["rank"].get<std::int64_t>()) + ": " +
            std::to_string(rank["modules"].get<int>()) + " modules\n";
  for (const auto& scale : info["scales"])
    text += "  scale " + scale["scale"].dump() + ": " +
            std::to_string(scale["modules"].get<int>()) + " modules\n";
  text += "  types";
  for (const auto& type : info["types"]) text += " " + type.get<std::string>();
  text += "\n  sha256 " + info["sha256"].get<std::string>() + "\n";
  for (const auto& key : info["unused_keys"]) text += "  not used: " + key.dump() + "\n";
  return text;
}

int run_info(const LoraToolFlags& flags) {
  const Opened opened(flags);
  nlohmann::json all = nlohmann::json::array();
  for (const ActiveAdapter& active : opened.adapters()) {
    const nlohmann::json info = lora_info(active.adapter->file, active.adapter->match);
    if (!flags.json) print(info_text(info));
    all.push_back(info);
  }
  if (flags.json) print_json(all.size() == 1 ? all.front() : all);
  return kExitSuccess;
}

int run_merge(const LoraToolFlags& flags) {
  const InterruptGuard interrupt;
  Opened opened(flags);
  for (const ActiveAdapter& active : opened.adapters()) note_unused(*active.adapter);
  const MergeResult result =
      merge_adapters(opened.model().model, {flags.output, opened.adapters(), interrupt.token()});
  std::cerr << flags.output << ": " << result.merged_tensors << " tensors merged, " << result.files
            << " files written\n";
  return kExitSuccess;
}

AdapterNaming naming_of(const LoraToolFlags& flags) {
  return from_name<AdapterNaming>(flags.naming).value();  // the flag takes no other
}

/// A folder for PEFT, else a file.
void check_output(const LoraToolFlags& flags) {
  if (naming_of(flags) == AdapterNaming::peft) return;
  if (!flags.output.ends_with(".safetensors"))
    usage_error("--output: " + flags.output + " must end in .safetensors");
  require_writable("--output", flags.output);
}

std::vector<WrittenModule> written(const std::map<std::string, AdapterModule>& modules) {
  std::vector<WrittenModule> result;
  for (const auto& [name, module] : modules) result.push_back(written_module(module));
  return result;
}

int run_convert(const LoraToolFlags& flags) {
  check_output(flags);
  const Opened opened(flags);
  note_unused(opened.first());
  const AdapterMatch& match = opened.first().match;
  write_adapter(flags.output, naming_of(flags), written(match.transformer),
                written(match.text_encoder));
  return kExitSuccess;
}

void write_resized(const LoraToolFlags& flags, const ResizedLora& lora) {
  write_adapter(flags.output, naming_of(flags), lora.transformer, lora.text_encoder);
  char percent[32];
  std::snprintf(percent, sizeof(percent), "%.2f", 100 * lora.least_kept);
  std::cerr << flags.output << ": " << lora.transformer.size() + lora.text_encoder.size()
            << " modules of rank " << flags.rank << " at most, each with at least " << percent
            << " % of the squared change\n";
}

int run_extract(const LoraToolFlags& flags) {
  check_output(flags);
  LoraModel base(flags.load.model, flags.load.parts), tuned(flags.tuned);
  write_resized(flags, extract_lora(base, tuned, flags.rank));
  return kExitSuccess;
}

int run_resize(const LoraToolFlags& flags) {
  check_output(flags);
  const Opened opened(flags);
  note_unused(opened.first());
  write_resized(flags, resize_lora(opened.first().match, flags.rank));
  return kExitSuccess;
}

using Tool = int (*)(const LoraToolFlags&);

void add_files(CLI::App& app, LoraToolFlags& flags, int most) {
  CLI::Option* const option =
      app.add_option("files", flags.files, "a safetensors file or a folder");
  option->required()->type_name("FILE");
  option->expected(1, most);
}

void add_output(CLI::App& app, LoraToolFlags& flags, const std::string& help,
                const std::string& type) {
  app.add_option("--output,-o", flags.output, help)->required()->type_name(type);
}

void add_naming(CLI::App& app, LoraToolFlags& flags, bool is_required) {
  CLI::Option* const option = app.add_option(
      "--to", flags.naming,
      "whose names: diffusers (default), comfyui, peft (a folder), kohya or original");
  option
      ->check(CLI::IsMember({"diffusers", "comfyui", "peft", "kohya", "original"}).description(""))
      ->type_name("diffusers|comfyui|peft|kohya|original");
  if (is_required) option->required();
}

void add_rank(CLI::App& app, LoraToolFlags& flags) {
  add_integer_flag(app, "--rank", flags.rank, 1, kMaxRank, "at most; default 16");
}

}  // namespace

Command add_lora_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("lora", "Look at LoRA files, merge, convert, resize them");
  const auto flags = std::make_shared<LoraToolFlags>();
  const auto tools = std::make_shared<std::vector<std::pair<CLI::App*, Tool>>>();
  const auto add = [&](const char* name, const char* help, Tool tool) {
    CLI::App* sub = app->add_subcommand(name, help);
    add_model_flag(*sub, flags->load);
    add_parts_flags(*sub, flags->load.parts);
    tools->emplace_back(sub, tool);
    return sub;
  };
  constexpr int kMostFiles = 64;
  CLI::App* info = add("info", "Say what is in LoRA files and whether the model has it", run_info);
  add_files(*info, *flags, kMostFiles);
  info->add_flag("--json", flags->json, "print it as JSON");
  CLI::App* merge = add("merge", "Write a model folder with LoRAs merged into it", run_merge);
  add_files(*merge, *flags, kMostFiles);
  add_output(*merge, *flags, "new folder", "DIR");
  CLI::App* convert = add("convert", "Write a LoRA with another program's names", run_convert);
  add_files(*convert, *flags, 1);
  add_naming(*convert, *flags, true);
  add_output(*convert, *flags, "new file, or PEFT's folder", "FILE");
  CLI::App* extract = add("extract", "Write the difference of two models as a LoRA", run_extract);
  extract->add_option("--tuned", flags->tuned, "the model that was made from --model")
      ->required()
      ->type_name("MODEL");
  add_rank(*extract, *flags);
  add_naming(*extract, *flags, false);
  add_output(*extract, *flags, "new file, or PEFT's folder", "FILE");
  CLI::App* resize = add("resize", "Write a LoRA of lower rank", run_resize);
  add_files(*resize, *flags, 1);
  add_rank(*resize, *flags);
  add_naming(*resize, *flags, false);
  add_output(*resize, *flags, "new file, or PEFT's folder", "FILE");
  app->require_subcommand(1);
  app->footer(kLoraExamples);
  return {app, [tools, flags] {
            for (const auto& [sub, tool] : *tools) {
              if (sub->parsed()) return tool(*flags);
            }
            return kExitUsage;
          }};
}

}  // namespace ernie_image
