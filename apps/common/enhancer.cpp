#include "common/enhancer.h"

#include <unistd.h>

#include <chrono>
#include <iostream>

#include <nlohmann/json.hpp>

#include "common/console.h"
#include "core/enum_names.h"
#include "io/file_view.h"
#include "io/model_folder.h"
#include "tokenizer/chat_template.h"

namespace ernie_image {
namespace {

using nlohmann::json;
using OnText = std::function<void(const std::string&)>;

constexpr const char* kNoCache = "off";

std::optional<EnhanceCache> open_cache(const std::string& flag) {
  const std::string directory = flag.empty() ? default_enhance_cache_directory() : flag;
  if (directory.empty() || directory == kNoCache) return std::nullopt;
  return EnhanceCache(directory);
}

/// A server is told what the model's own template would say.
std::string system_text(const ModelFolder& folder, const EnhanceOptions& options) {
  if (!options.system_prompt.empty()) return options.system_prompt;
  const std::string path = join_path(folder.component("pe_tokenizer"), "chat_template.jinja");
  if (file_exists(path)) return ChatTemplate::open(path).system_text();
  throw Error(ErrorKind::not_found,
              path +
                  " does not exist, and it holds the instructions for the server of --pe-url; "
                  "pass them with --pe-system-prompt FILE");
}

/// An unusable text is an error: the prompt is never changed or dropped in silence.
void require_usable(const EnhancedPrompt& enhanced) {
  const char* advice = "; try another --pe-seed, or draw the prompt as it is with --no-enhance";
  if (enhanced.text.empty()) {
    throw Error(ErrorKind::unsupported, std::string("the prompt enhancer wrote no text") + advice);
  }
  if (enhanced.text.find('\0') != std::string::npos) {
    throw Error(ErrorKind::unsupported,
                std::string("the prompt enhancer wrote a text with a zero byte in it") + advice);
  }
}

/// Says the text on a terminal as it is written, and elsewhere at once.
class TextDisplay {
 public:
  TextDisplay(bool enabled, const std::string& title)
      : enabled_(enabled), streams_(enabled && isatty(STDERR_FILENO) == 1), title_(title) {
    if (streams_) std::cerr << title_;
  }

  void add(const std::string& piece) const {
    if (streams_) std::cerr << visible_lines(piece) << std::flush;
  }

  void finish(const std::string& text) const {
    if (streams_) {
      std::cerr << "\n";
    } else if (enabled_) {
      std::cerr << title_ << visible_lines(text) << "\n";
    }
  }

 private:
  bool enabled_;
  bool streams_;
  std::string title_;
};

}  // namespace

std::optional<double> tokens_per_second(const Enhancement& enhancement) {
  // The first token comes from the prefill.
  const EnhancedPrompt& enhanced = enhancement.enhanced;
  if (enhanced.ids.size() < 2 || enhanced.decode_seconds <= 0) return std::nullopt;
  return static_cast<double>(enhanced.ids.size() - 1) / enhanced.decode_seconds;
}

Enhancer::Enhancer(Pipeline& pipeline, const LoadOptions& load, const EnhanceFlags& flags,
                   std::shared_ptr<const CancelToken> cancel)
    : pipeline_(pipeline),
      flags_(flags),
      options_(flags.options),
      dtype_(name_of(load.precision)),
      cache_(open_cache(flags.cache)) {
  options_.cancel = std::move(cancel);
  const ModelFolder folder = resolve_model(pipeline.info().path, pipeline.info().parts);
  if (flags.endpoint) {
    system_text_ = system_text(folder, options_);
    model_ = flags.endpoint->shown_url + " " + flags.endpoint->model;
  } else if (cache_ && folder.has_prompt_enhancer) {
    model_ = enhancer_hash(folder);
  }
}

json Enhancer::recipe(const std::string& prompt, int width_px, int height_px) const {
  json recipe = {{"model", model_},
                 {"prompt", prompt},
                 {"width", width_px},
                 {"height", height_px},
                 {"temperature", options_.temperature},
                 {"top_p", options_.top_p},
                 {"top_k", options_.top_k},
                 {"seed", options_.seed},
                 {"max_tokens", options_.max_tokens}};
  if (flags_.endpoint) {
    recipe["system_prompt"] = system_text_;
  } else {
    recipe["system_prompt"] = options_.system_prompt;
    recipe["dtype"] = dtype_;
    recipe["quantization"] = name_of(options_.quantization);
  }
  return recipe;
}

EnhancedPrompt Enhancer::write(const std::string& prompt, int width_px, int height_px,
                               const OnText& on_text) const {
  EnhanceOptions options = options_;
  options.on_text = on_text;
  if (!flags_.endpoint) return pipeline_.enhance(prompt, width_px, height_px, options);
  EnhancedPrompt enhanced = complete_chat(*flags_.endpoint, system_text_,
                                          enhancer_request(prompt, width_px, height_px), options);
  if (on_text) on_text(enhanced.text);
  return enhanced;
}

Enhancement Enhancer::enhance(const std::string& prompt, int width_px, int height_px,
                              const OnText& on_text) const {
  const auto start = std::chrono::steady_clock::now();
  const json key = recipe(prompt, width_px, height_px);
  Enhancement result;
  result.original = prompt;
  if (auto found = cache_ ? cache_->find(key) : std::nullopt) {
    result.enhanced = std::move(*found);
    result.cached = true;
    require_usable(result.enhanced);
    if (on_text) on_text(result.enhanced.text);
  } else {
    result.enhanced = write(prompt, width_px, height_px, on_text);
    require_usable(result.enhanced);
    if (cache_) cache_->store(key, result.enhanced);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

bool is_blank(const std::string& prompt) {
  return prompt.find_first_not_of(" \t\r\n") == std::string::npos;
}

std::vector<Enhancement> enhance_prompts(const Enhancer& enhancer, Request& request, bool quiet) {
  std::vector<Enhancement> results;
  for (std::string& prompt : request.prompts) {
    if (is_blank(prompt)) continue;
    std::string title = "Enhanced prompt";
    if (request.prompts.size() > 1)
      title += " " + std::to_string(&prompt - request.prompts.data() + 1);
    const TextDisplay display(!quiet, title + ": ");
    results.push_back(
        enhancer.enhance(prompt, request.width_px, request.height_px,
                         [&display](const std::string& piece) { display.add(piece); }));
    display.finish(results.back().enhanced.text);
    if (!quiet) note_defects(results.back());
    prompt = results.back().enhanced.text;
  }
  return results;
}

void note_defects(const Enhancement& enhancement) {
  const EnhancedPrompt& enhanced = enhancement.enhanced;
  if (!enhanced.finished) {
    std::cerr << "Warning: the enhanced prompt was cut off at the limit of tokens; see "
                 "--pe-max-tokens.\n";
  }
  if (enhanced.text.find("\xef\xbf\xbd") != std::string::npos) {
    std::cerr << "Warning: the enhanced prompt holds bytes that are not UTF-8; they were replaced "
                 "by U+FFFD.\n";
  }
}

}  // namespace ernie_image
