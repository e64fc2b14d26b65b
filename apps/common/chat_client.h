// Enhancing a prompt at a server with OpenAI's chat completions interface (vLLM, llama.cpp).
#pragma once

#include <memory>
#include <string>

#include "ernie_image/cancel.h"
#include "ernie_image/pipeline.h"

namespace ernie_image {

struct ChatEndpoint {
  std::string url;        ///< of the completions themselves
  std::string shown_url;  ///< without the query, which may hold a secret
  std::string model;      ///< empty: the server's own
  std::string api_key;    ///< empty: none; appears in no message
  int timeout_seconds = 300;
};

/// Completes "http://host:8000", "http://host:8000/v1" or the whole address. Throws
/// Error(invalid_argument) for anything but HTTP, or with a password in it.
ChatEndpoint make_chat_endpoint(const std::string& url);

/// $ERNIE_IMAGE_PE_API_KEY, else $OPENAI_API_KEY, else empty. Throws Error(invalid_argument) for a
/// key that cannot stand in a header.
std::string api_key_from_environment();

/// Sends both texts with the temperature, top_p, seed and token limit of `options`, and top_k if it
/// is not 0. The text comes back without white space at both ends; it may be empty. Throws
/// Error(io) that says what the server answered instead, Error(cancelled).
EnhancedPrompt complete_chat(const ChatEndpoint& endpoint, const std::string& system_text,
                             const std::string& user_text, const EnhanceOptions& options);

}  // namespace ernie_image
