// What goes into the prompt enhancer and what comes out of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ernie_image/memory.h"
#include "ernie_image/precision.h"

namespace ernie_image {

class CancelToken;  // cancel.h

/// How the prompt enhancer writes. The defaults are the reference's.
struct EnhanceOptions {
  double temperature = 0.6;  ///< 0: greedy, the most likely token every time
  double top_p = 0.95;
  int top_k = 0;  ///< 0: the model's generation_config.json, else 50
  std::uint64_t seed = 42;
  Quantization quantization = Quantization::none;
  int max_tokens = 2048;      ///< cut to the tokenizer's model_max_length
  std::string system_prompt;  ///< empty: the one in the model's chat template
  /// Receives the text piece by piece as it is written; all pieces together are the text.
  std::function<void(const std::string& piece)> on_text;
  std::shared_ptr<const CancelToken> cancel;
};

struct EnhancedPrompt {
  std::string text;             ///< what replaces the prompt
  std::vector<int> ids;         ///< the new tokens, the end token included
  std::string rendered_prompt;  ///< what the language model was given
  int prompt_tokens = 0;
  bool finished = false;  ///< false: cut off at the token limit
  double prefill_seconds = 0;
  double decode_seconds = 0;
  StageMemory memory;  ///< all zeros if another program wrote the text
};

}  // namespace ernie_image
