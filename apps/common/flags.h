// Flags that several commands share, and typed flags with strict values.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ernie_image/pipeline.h"

// Enough for declarations, and quickly parsed; sources that define flags include <CLI/CLI.hpp>.
namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace ernie_image {

/// A subcommand and what runs it, returning the exit code.
struct Command {
  CLI::App* app;
  std::function<int()> run;
};

/// `names` as CLI11 takes them, the long name first: "--height,-H".
CLI::Option* add_integer_flag(CLI::App& app, const std::string& names, int& target, int min,
                              int max, const std::string& help);

CLI::Option* add_number_flag(CLI::App& app, const std::string& names,
                             std::function<void(double)> set, double min, double max,
                             const std::string& help);

/// A flag that has one of `values`.
CLI::Option* add_choice_flag(CLI::App& app, const std::string& name,
                             const std::vector<std::string>& values,
                             const std::function<void(const std::string&)>& set,
                             const std::string& help);

/// The flag of the option that records call `option`, "--height" for "height"; `help` instead of
/// its usual one if it is not empty.
void add_option_flag(CLI::App& app, const std::string& option, Request& request,
                     const std::string& help);

/// --height, --width, --num-steps, --guidance-scale: one flag for each option of a request
void add_option_flags(CLI::App& app, Request& request);

/// --seed, of commands that draw every picture from the same one
void add_single_seed_flag(CLI::App& app, Request& request);

/// --model
void add_model_flag(CLI::App& app, LoadOptions& load);

/// --base, --transformer, --text-encoder, --vae, --pe, --tokenizer
void add_parts_flags(CLI::App& app, ModelParts& parts);

/// --dtype
void add_dtype_flag(CLI::App& app, LoadOptions& load);

/// `name` none|int8|int4, which sets `quantization`.
void add_quantization_flag(CLI::App& app, const std::string& name, Quantization& quantization,
                           const std::string& help);

/// --quant
void add_quant_flag(CLI::App& app, LoadOptions& load);

/// --threads
void add_threads_flag(CLI::App& app, LoadOptions& load);

/// --cpu-kernels
void add_cpu_kernels_flag(CLI::App& app, LoadOptions& load);

/// --device
void add_device_name_flag(CLI::App& app, std::string& device, const std::string& if_absent);

/// A flag for each option of a device: --offload, --cuda-attention...
void add_device_option_flags(CLI::App& app, std::map<std::string, std::string>& options);

/// --device and the above
void add_device_flag(CLI::App& app, LoadOptions& load);

void add_memory_limit_flag(CLI::App& app, LoadOptions& load);

/// A prompt by itself, or --prompt, which exclude each other. "-" is standard input:
/// prompt_of_input.
void add_single_prompt_flags(CLI::App& app, std::optional<std::string>& prompt);

/// --model, those of add_parts_flags, --dtype, --quant, those of add_device_flag, --threads,
/// --cpu-kernels, --memory-limit
void add_load_flags(CLI::App& app, LoadOptions& load);

/// The kernel set that `load` will run with: "auto" is the best of this processor.
std::string kernels_used(const LoadOptions& load);

/// Says on stderr where the parts of a model are from, that it has tensors which are not used, or
/// that the embedded model is used because none was named, and how to get the real one.
void note_model(const LoadOptions& load, const ModelInfo& info);

}  // namespace ernie_image
