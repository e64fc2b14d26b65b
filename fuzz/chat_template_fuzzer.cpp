// The input is a chat_template.jinja; one that is accepted renders any message.
#include "tokenizer/chat_template.h"

#include "ernie_image/error.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ernie_image;
  const MemoryFile input(data, size);
  try {
    const ChatTemplate chat = ChatTemplate::open(input.path());
    const std::string message = enhancer_request("a \"fox\"\n\xc3\xa9", 64, 128);
    const std::string text = chat.render("<s>", message);
    if (text.find(message) == std::string::npos || !text.starts_with("<s>")) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
