// The commands of the program, each in the file of its name: flags, work, output.
#pragma once

#include "common/flags.h"

namespace ernie_image {

Command add_completion_command(CLI::App& program);  ///< of flags, for shells
Command add_convert_command(CLI::App& program);     ///< a model as other programs read it
Command add_devices_command(CLI::App& program);     ///< what this build can compute on here
Command add_diff_command(CLI::App& program);        ///< where two ways to run a model part
Command add_enhance_command(CLI::App& program);     ///< prompts written out by the enhancer
Command add_eval_command(CLI::App& program);        ///< accuracy and speed against a baseline
Command add_generate_command(CLI::App& program);    ///< text to picture files
Command add_help_command(CLI::App& program);        ///< of one command
Command add_inspect_command(CLI::App& program);     ///< what a model folder holds and needs
Command add_jobs_command(CLI::App& program);        ///< a server's jobs, from outside
Command add_lora_command(CLI::App& program);        ///< adapters looked at and rewritten
Command add_man_command(CLI::App& program);         ///< the manual page
Command add_metrics_command(CLI::App& program);     ///< how far two pictures are apart
Command add_pull_command(CLI::App& program);        ///< a model downloaded by a hub's client
Command add_quantize_command(CLI::App& program);    ///< a model folder with quantised weights
Command add_rerun_command(CLI::App& program);       ///< a picture made again from its record
Command add_serve_command(CLI::App& program);       ///< pictures over HTTP
Command add_tokenize_command(CLI::App& program);    ///< the ids that the text encoder would be fed
Command add_worker_command(CLI::App& program);      ///< one device that works for a queue

}  // namespace ernie_image
