#include "commands/commands.h"

#include <algorithm>
#include <array>
#include <iostream>
#include <string_view>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "common/console.h"
#include "common/exit_code.h"
#include "common/interrupt.h"
#include "common/parse_values.h"
#include "common/progress_bar.h"
#include "core/enum_names.h"
#include "io/model_folder.h"
#include "quantize/quantize_model.h"

namespace ernie_image {
namespace {

constexpr const char* kQuantizeExamples =
    "Examples:\n"
    "  ernie-image quantize -m baidu/ERNIE-Image-Turbo --quant int8 -o turbo-int8\n"
    "  ernie-image quantize -m baidu/ERNIE-Image-Turbo --quant int4 \\\n"
    "      --components transformer,text_encoder,pe -o turbo-int4\n"
    "  ernie-image quantize -m baidu/ERNIE-Image-Turbo --quant int8 --target ascend -o turbo-910b\n"
    "  ernie-image generate --model turbo-int8 --prompt \"a lighthouse\" --output l.png";

constexpr std::array<std::string_view, 3> kComponents = {"transformer", "text_encoder", "pe"};

struct QuantizeFlags {
  LoadOptions load;
  std::string quantization;
  std::string target = "any";
  std::string components = "transformer";
  QuantizeRequest request;
  bool json = false;
  bool quiet = false;
};

/// "transformer,pe"
std::set<std::string> parse_components(const std::string& list) {
  std::set<std::string> components;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const std::string name = list.substr(begin, end - begin);
    if (std::ranges::find(kComponents, name) == kComponents.end()) {
      throw Error(ErrorKind::invalid_argument,
                  "--components: \"" + name +
                      "\" cannot be quantised; transformer, text_encoder and pe can, separated by "
                      "commas");
    }
    components.insert(name);
    begin = end + 1;
  }
  return components;
}

void report(const QuantizeFlags& flags, const QuantizeResult& result) {
  if (flags.json) {
    print_json({{"output", flags.request.output},
                {"quantization", flags.quantization},
                {"target", flags.target},
                {"components", flags.request.components},
                {"files", result.files},
                {"kept_files", result.kept_files},
                {"packed_tensors", result.packed_tensors},
                {"source_bytes", result.source_bytes},
                {"bytes", result.bytes},
                {"seconds", result.seconds}});
  } else if (!flags.quiet) {
    std::cerr << flags.request.output << ": " << result.packed_tensors << " tensors to "
              << flags.quantization << ", " << human_bytes(result.source_bytes) << " to "
              << human_bytes(result.bytes) << " in " << result.files << " files";
    if (result.kept_files > 0) std::cerr << ", " << result.kept_files << " of an earlier run";
    std::cerr << ", " << human_seconds(result.seconds) << "\n";
  }
}

int run_quantize(QuantizeFlags& flags) {
  QuantizeRequest& request = flags.request;
  request.components = parse_components(flags.components);
  request.quantization = from_name<Quantization>(flags.quantization).value();
  if (flags.target == "ascend") request.target = QuantizeTarget::ascend;
  request.num_threads = flags.load.num_threads;
  request.source = resolve_model(flags.load.model, flags.load.parts);
  const InterruptGuard interrupt;
  request.cancel = interrupt.token();
  QuantizeResult result;
  {
    ProgressBar bar(!flags.quiet);
    request.on_progress = [&bar](const QuantizeProgress& progress) { bar.show(progress); };
    result = quantize_model(request);
  }
  report(flags, result);
  return kExitSuccess;
}

}  // namespace

Command add_quantize_command(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("quantize", "Write a model folder with compressed weights");
  const auto flags = std::make_shared<QuantizeFlags>();
  add_model_flag(*app, flags->load);
  app->add_option("--quant", flags->quantization,
                  "int8, or int4, which is smaller, faster and less exact")
      ->required()
      ->check(CLI::IsMember({"int8", "int4"}).description(""))
      ->type_name("int8|int4");
  app->add_option("--target", flags->target,
                  "any, the default, or ascend: int8 with one scale a row, which Ascend cards copy "
                  "and need not quantise again; other devices decode it")
      ->check(CLI::IsMember({"any", "ascend"}).description(""))
      ->type_name("any|ascend");
  app->add_option("--components", flags->components,
                  "of transformer, text_encoder and pe, those to compress; default: transformer, "
                  "as `generate --quant` does. Others are linked or copied")
      ->type_name("LIST");
  app->add_option("--output,-o", flags->request.output,
                  "new folder; after an interruption the same command goes on")
      ->required()
      ->type_name("DIR");
  app->add_flag("--force", flags->request.force, "replace what an earlier run wrote there");
  app->add_option_function<std::string>(
         "--max-shard-size",
         [flags](const std::string& text) {
           flags->request.max_shard_bytes = parse_byte_count("--max-shard-size", text);
         },
         "largest weight file, default 4000000000 bytes")
      ->type_name("BYTES");
  add_threads_flag(*app, flags->load);
  app->add_flag("--json", flags->json, "print figures as JSON");
  app->add_flag("--quiet,-q", flags->quiet, "no progress, no notes, only errors");
  app->footer(kQuantizeExamples);
  return {app, [flags] { return run_quantize(*flags); }};
}

}  // namespace ernie_image
