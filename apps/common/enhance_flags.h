// The flags of the prompt enhancer, shared by `generate`, `enhance` and `eval`.
#pragma once

#include <optional>
#include <string>

#include "common/chat_client.h"
#include "common/flags.h"

namespace ernie_image {

struct EnhanceFlags {
  /// --enhance or --no-enhance; absent: as the reference does, if the model has an enhancer or a
  /// server is named.
  std::optional<bool> enabled;
  EnhanceOptions options;
  std::string system_prompt_file;
  std::string cache;  ///< a folder, "off", or empty for the default
  std::string url;
  std::string server_model;
  int timeout_seconds = 300;
  std::optional<ChatEndpoint> endpoint;  ///< set by complete_enhance_flags
};

/// --enhance, --no-enhance; `when_default` says for --help when it is on without either.
void add_enhance_switch(CLI::App& app, EnhanceFlags& flags, const std::string& when_default);

/// --pe-*
void add_enhancer_flags(CLI::App& app, EnhanceFlags& flags);

/// Reads the system prompt, the server's address and the key for it. Throws Error.
void complete_enhance_flags(EnhanceFlags& flags);

/// Throws Error(invalid_argument) if enhancing was asked for and `info` has no enhancer.
bool should_enhance(const EnhanceFlags& flags, const ModelInfo& info);

}  // namespace ernie_image
