// The released chat template, against the fingerprints of what the reference makes of it. Its text
// is part of the model and not of this repository: name the file to run this.
//   ERNIE_IMAGE_RELEASED_TEMPLATE=.../pe_tokenizer/chat_template.jinja build/tokenizer_test
//     --gtest_filter='ReleasedTemplate.*'
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "io/file_view.h"
#include "io/sha256.h"
#include "support/golden.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace ernie_image {
namespace {

static_assert(std::endian::native == std::endian::little, "the ids' hashes are of their bytes");

TEST(ReleasedTemplate, RendersAndTokenisesToTheFingerprints) {
  const char* path = std::getenv("ERNIE_IMAGE_RELEASED_TEMPLATE");
  if (path == nullptr) GTEST_SKIP() << "ERNIE_IMAGE_RELEASED_TEMPLATE is not set";
  std::ifstream file(golden::data_path("reference/pe/official_template_fingerprints.json"));
  const auto fingerprints = nlohmann::json::parse(file);
  ASSERT_EQ(sha256_hex(open_file(path).text()), fingerprints["template"]["sha256"]);

  const ChatTemplate chat = ChatTemplate::open(path);
  const Tokenizer tokenizer = Tokenizer::open_file(ERNIE_IMAGE_TEKKEN_FULL);
  for (const auto& item : fingerprints["cases"]) {
    const auto prompt = item["prompt"].get<std::string>();
    SCOPED_TRACE(prompt);
    const std::string rendered =
        chat.render("<s>", enhancer_request(prompt, item["width"], item["height"]));
    EXPECT_EQ(sha256_hex(rendered), item["rendered_sha256"]);
    const std::vector<std::int32_t> ids = tokenizer.encode_untruncated(rendered);
    const std::string_view bytes(reinterpret_cast<const char*>(ids.data()), ids.size() * 4);
    // A tokenizer that adds a bos of its own would make it two; this one adds none.
    EXPECT_EQ(ids.size(), item["ids_count_without_bos_postprocessor"].get<std::size_t>());
    EXPECT_EQ(sha256_hex(bytes), item["ids_sha256_little_endian_int32"]);
  }
}

}  // namespace
}  // namespace ernie_image
