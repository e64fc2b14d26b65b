// Enhancing prompts as the commands do it: by the model or a server, with the cache in front.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "common/enhance_flags.h"
#include "enhance/enhance_cache.h"

namespace ernie_image {

struct Enhancement {
  std::string original;
  EnhancedPrompt enhanced;
  bool cached = false;
  double seconds = 0;
};

/// Tokens a second of the decoding alone; nothing where it was not this program that decoded.
std::optional<double> tokens_per_second(const Enhancement& enhancement);

class Enhancer {
 public:
  /// `pipeline` and `flags` must outlive it. Throws Error if the system text cannot be read.
  Enhancer(Pipeline& pipeline, const LoadOptions& load, const EnhanceFlags& flags,
           std::shared_ptr<const CancelToken> cancel);

  /// `on_text` receives the text, as it is written where that is possible. Throws Error for an
  /// answer that cannot replace the prompt.
  Enhancement enhance(const std::string& prompt, int width_px, int height_px,
                      const std::function<void(const std::string&)>& on_text) const;

 private:
  nlohmann::json recipe(const std::string& prompt, int width_px, int height_px) const;
  EnhancedPrompt write(const std::string& prompt, int width_px, int height_px,
                       const std::function<void(const std::string&)>& on_text) const;

  Pipeline& pipeline_;
  const EnhanceFlags& flags_;
  EnhanceOptions options_;
  std::string model_;  // what writes: a hash, or a server's address and model
  std::string dtype_;
  std::string system_text_;  // for a server
  std::optional<EnhanceCache> cache_;
};

/// Of nothing but white space: there is nothing to be written out, and the enhancer would invent a
/// picture.
bool is_blank(const std::string& prompt);

/// Puts enhanced prompts in place of those of `request` that are not blank, whose size must be
/// filled in, and says them on stderr unless `quiet`.
std::vector<Enhancement> enhance_prompts(const Enhancer& enhancer, Request& request, bool quiet);

/// Warns on stderr of a text that was cut off or is not quite text.
void note_defects(const Enhancement& enhancement);

}  // namespace ernie_image
