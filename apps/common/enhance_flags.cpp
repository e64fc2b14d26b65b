#include "common/enhance_flags.h"

#include <CLI/CLI.hpp>

#include "common/console.h"
#include "common/limits.h"
#include "common/parse_values.h"
#include "common/text_input.h"

namespace ernie_image {
namespace {

void add_sampling_flags(CLI::App& app, EnhanceOptions& options) {
  add_number_flag(
      app, "--pe-temperature", [&options](double value) { options.temperature = value; }, 0,
      kMaxTemperature, "default 0.6; 0 takes the most likely word every time");
  add_number_flag(
      app, "--pe-top-p", [&options](double value) { options.top_p = value; }, 0, 1, "default 0.95");
  add_integer_flag(app, "--pe-top-k", options.top_k, 1, kMaxTopK,
                   "default: the model's generation_config.json, else 50");
  app.add_option_function<std::string>(
         "--pe-seed",
         [&options](const std::string& text) { options.seed = parse_seed("--pe-seed", text); },
         "of the enhancer's own draws, default 42, or `random`")
      ->type_name("N");
  add_integer_flag(app, "--pe-max-tokens", options.max_tokens, 1, kMaxNewTokens,
                   "the longest text it may write, default 2048");
  add_quantization_flag(
      app, "--pe-quant", options.quantization,
      "weights of the enhancer in memory: none (default, as in the file), int8 or "
      "int4, which are faster and less exact");
}

void add_server_flags(CLI::App& app, EnhanceFlags& flags) {
  CLI::Option* url =
      app.add_option("--pe-url", flags.url,
                     "send the prompt to this server with OpenAI's interface instead; "
                     "$ERNIE_IMAGE_PE_API_KEY, else $OPENAI_API_KEY, goes with it")
          ->type_name("URL");
  app.add_option("--pe-model", flags.server_model, "model to ask that server for")
      ->type_name("NAME")
      ->needs(url);
  add_integer_flag(app, "--pe-timeout", flags.timeout_seconds, 1, kMaxTimeoutSeconds,
                   "seconds to wait for that server, default 300")
      ->needs(url);
}

/// The whole file but for its last line end.
std::string read_system_prompt(const std::string& path) {
  std::string text = read_text("--pe-system-prompt", path);
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  require_utf8("--pe-system-prompt: " + path, text);
  if (text.empty()) {
    throw Error(ErrorKind::invalid_argument, "--pe-system-prompt: " + path + " is empty");
  }
  return text;
}

}  // namespace

void add_enhance_switch(CLI::App& app, EnhanceFlags& flags, const std::string& when_default) {
  CLI::Option* on = app.add_flag_callback(
      "--enhance,--use-pe", [&flags] { flags.enabled = true; },
      "let the model's language model rewrite the prompt first (" + when_default + ")");
  app.add_flag_callback(
         "--no-enhance,--no-pe", [&flags] { flags.enabled = false; }, "draw the prompt as it is")
      ->excludes(on);
}

void add_enhancer_flags(CLI::App& app, EnhanceFlags& flags) {
  add_sampling_flags(app, flags.options);
  app.add_option("--pe-system-prompt", flags.system_prompt_file,
                 "instructions in place of those of the model's chat template")
      ->type_name("FILE");
  app.add_option("--pe-cache", flags.cache,
                 "where enhanced prompts are kept; default: ~/.cache/ernie-image/enhanced")
      ->type_name("off|DIR");
  add_server_flags(app, flags);
}

void complete_enhance_flags(EnhanceFlags& flags) {
  if (!flags.system_prompt_file.empty()) {
    flags.options.system_prompt = read_system_prompt(flags.system_prompt_file);
  }
  if (flags.url.empty()) return;
  if (flags.enabled == false) {
    throw Error(ErrorKind::invalid_argument, "--pe-url enhances, --no-enhance does not");
  }
  require_utf8("--pe-url", flags.url);
  require_utf8("--pe-model", flags.server_model);
  ChatEndpoint endpoint = make_chat_endpoint(flags.url);
  endpoint.model = flags.server_model;
  endpoint.api_key = api_key_from_environment();
  endpoint.timeout_seconds = flags.timeout_seconds;
  flags.endpoint = endpoint;
}

bool should_enhance(const EnhanceFlags& flags, const ModelInfo& info) {
  const bool is_possible = flags.endpoint.has_value() || info.has_prompt_enhancer;
  if (flags.enabled == true && !is_possible) {
    throw Error(ErrorKind::invalid_argument,
                "--enhance: " + visible(info.name) +
                    " has no prompt enhancer (folders pe and pe_tokenizer); name a server with "
                    "--pe-url, or run without --enhance");
  }
  return flags.enabled.value_or(is_possible);
}

}  // namespace ernie_image
