#include "commands/commands.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "commands/file_report.h"
#include "commands/model_report.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "io/file_view.h"

namespace ernie_image {
namespace {

constexpr const char* kInspectExamples =
    "Examples:\n"
    "  ernie-image inspect baidu/ERNIE-Image-Turbo\n"
    "  ernie-image inspect models/ERNIE-Image --tensors\n"
    "  ernie-image inspect ernie-image-turbo-Q4_K.gguf\n"
    "  ernie-image inspect ernie-image-turbo-Q4_K.gguf --base baidu/ERNIE-Image-Turbo\n"
    "  ernie-image inspect --json\n"
    "Exit codes: 0 the model can be used, 1 it cannot, 2 wrong usage.";

struct InspectFlags {
  LoadOptions load;
  Request request;  ///< its size
  bool tensors = false;
  bool verify = false;
  bool json = false;
};

/// A file that nothing is to complete is described for itself.
int run_inspect_file(const InspectFlags& flags) {
  const FileReport report = report_file(flags.load.model);
  if (flags.json) {
    print_json(to_json(report, flags.tensors));
  } else {
    print(to_text(report, flags.tensors));
  }
  return report.problem.empty() ? kExitSuccess : kExitFailure;
}

int run_inspect(const InspectFlags& flags) {
  const bool alone = flags.load.parts == ModelParts{} && !flags.load.model.empty() &&
                     !directory_exists(flags.load.model) && file_exists(flags.load.model);
  if (alone) return run_inspect_file(flags);
  PlanRequest planned;
  planned.height_px = flags.request.height_px;
  planned.width_px = flags.request.width_px;
  planned.dtype = dtype_of(flags.load.precision);
  planned.limit_bytes = flags.load.memory_limit_bytes;
  planned.transformer_quantization = flags.load.quantization;
  ModelReport report = report_model(flags.load, planned);
  if (flags.verify) verify_files(report);
  if (flags.json) {
    print_json(to_json(report, flags.tensors));
  } else {
    print(to_text(report, flags.tensors));
  }
  return report.problem.empty() ? kExitSuccess : kExitFailure;
}

}  // namespace

Command add_inspect_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("inspect", "Describe a model and its memory plan");
  const auto flags = std::make_shared<InspectFlags>();
  app->add_option(
         "model", flags->load.model,
         "model folder, hub id or any file; default: $ERNIE_IMAGE_MODEL, else the embedded "
         "model")
      ->type_name("MODEL");
  add_parts_flags(*app, flags->load.parts);
  for (const char* side : {"height", "width"}) {
    add_option_flag(*app, side, flags->request, "of the memory plan; default: the model's own");
  }
  add_dtype_flag(*app, flags->load);
  add_device_flag(*app, flags->load);
  add_memory_limit_flag(*app, flags->load);
  add_quant_flag(*app, flags->load);
  app->add_flag("--tensors", flags->tensors, "list every tensor");
  app->add_flag("--verify", flags->verify,
                "read every file of a quantised model and compare its checksum");
  app->add_flag("--json", flags->json, "print JSON");
  app->footer(kInspectExamples);
  return {app, [flags] { return run_inspect(*flags); }};
}

}  // namespace ernie_image
