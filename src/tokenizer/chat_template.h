// The prompt enhancer's chat template: recognised by its structure, not interpreted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ernie_image {

/// "<bos>[SYSTEM_PROMPT]system text[/SYSTEM_PROMPT][INST]content[/INST]"
class ChatTemplate {
 public:
  /// Reads a `chat_template.jinja`. Its structure must be the released one around any system text
  /// without Jinja in it; line ends and a final newline do not matter. Throws Error(not_found), or
  /// Error(unsupported) saying what it expected.
  static ChatTemplate open(const std::string& path);

  const std::string& system_text() const { return system_text_; }
  void set_system_text(std::string text) { system_text_ = std::move(text); }

  /// What the tokenizer is fed for one user message.
  std::string render(std::string_view bos_token, std::string_view user_content) const;

 private:
  std::string system_text_;
};

/// The user message: {"prompt": "...", "width": W, "height": H}, non-ASCII characters as they are.
/// `prompt` is valid UTF-8. Reference: Python's json.dumps(..., ensure_ascii=False).
std::string enhancer_request(std::string_view prompt, std::int64_t width_px,
                             std::int64_t height_px);

}  // namespace ernie_image
