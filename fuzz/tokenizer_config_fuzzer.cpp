// The input is a tokenizer_config.json beside a small tokenizer.
#include "tokenizer/tokenizer_config.h"

#include "ernie_image/error.h"
#include "memory_file.h"
#include "tokenizer/tokenizer_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ernie_image;
  TokenizerFile file;
  file.tokens = {"a", "b", "<s>", "</s>"};
  const MemoryFile input(data, size);
  try {
    const TokenizerConfig config = read_tokenizer_config(input.path(), file);
    if (config.model_max_length && *config.model_max_length < 0) std::abort();
    const auto tokens = static_cast<std::int64_t>(file.tokens.size());  // some may have been added
    if (config.bos_id && (*config.bos_id < 0 || *config.bos_id >= tokens)) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
