#include "tokenizer/chat_template.h"

#include <nlohmann/json.hpp>

#include "ernie_image/error.h"
#include "io/file_view.h"

namespace ernie_image {
namespace {

constexpr std::string_view kBeforeSystemText = "{{- bos_token }}[SYSTEM_PROMPT]";
constexpr std::string_view kAfterSystemText =
    "[/SYSTEM_PROMPT]\n"
    "{%- for message in messages %}\n"
    "{%- if message['role'] == 'user' %}\n"
    "{{- '[INST]' + message['content'] + '[/INST]' }}\n"
    "{%- elif message['role'] == 'assistant' %}\n"
    "{%- generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}\n"
    "{%- endif %}\n"
    "{%- endfor %}";

std::string with_unix_line_ends(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c != '\r') result += c;
  }
  if (result.ends_with('\n')) result.pop_back();
  return result;
}

bool has_jinja(std::string_view text) {
  for (const std::string_view mark : {"{{", "}}", "{%", "%}", "{#", "#}"}) {
    if (text.find(mark) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

ChatTemplate ChatTemplate::open(const std::string& path) {
  const std::string text = with_unix_line_ends(open_file(path).text());
  const bool framed = text.size() >= kBeforeSystemText.size() + kAfterSystemText.size() &&
                      text.starts_with(kBeforeSystemText) && text.ends_with(kAfterSystemText);
  ChatTemplate result;
  if (framed) {
    const std::size_t length = text.size() - kBeforeSystemText.size() - kAfterSystemText.size();
    result.system_text_ = text.substr(kBeforeSystemText.size(), length);
  }
  if (!framed || has_jinja(result.system_text_)) {
    throw Error(ErrorKind::unsupported,
                path +
                    ": this chat template has another structure than the one supported: bos, "
                    "[SYSTEM_PROMPT], a constant text, "
                    "[/SYSTEM_PROMPT], and [INST] content [/INST] for each user message; run "
                    "without --enhance, or put the released "
                    "template back and pass the system text with --pe-system-prompt");
  }
  return result;
}

std::string ChatTemplate::render(std::string_view bos_token, std::string_view user_content) const {
  std::string text(bos_token);
  text.append("[SYSTEM_PROMPT]").append(system_text_).append("[/SYSTEM_PROMPT]");
  text.append("[INST]").append(user_content).append("[/INST]");
  return text;
}

std::string enhancer_request(std::string_view prompt, std::int64_t width_px,
                             std::int64_t height_px) {
  return "{\"prompt\": " + nlohmann::json(prompt).dump() +
         ", \"width\": " + std::to_string(width_px) + ", \"height\": " + std::to_string(height_px) +
         "}";
}

}  // namespace ernie_image
