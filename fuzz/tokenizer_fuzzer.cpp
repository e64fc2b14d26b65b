// The input is a tokenizer.json; one that is accepted must encode and decode any text.
#include "tokenizer/tokenizer.h"

#include "ernie_image/error.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ernie_image;
  const MemoryFile input(data, size);
  try {
    const Tokenizer tokenizer = Tokenizer::open_file(input.path());
    for (const char* text : {"", "hello, a b", "<s> 静か 🐼\n", "aaab 12  \xc3\xa9"}) {
      const std::vector<std::int32_t> ids = tokenizer.encode(text);
      if (ids.empty()) std::abort();
      tokenizer.decode(ids, false);
      tokenizer.decode(ids, true);
      tokenizer.encode_untruncated(text);
    }
  } catch (const Error&) {
  }
  return 0;
}
