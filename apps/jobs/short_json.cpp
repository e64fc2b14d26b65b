#include "jobs/short_json.h"

#include <iterator>

namespace ernie_image {
namespace {

// The n-th stands for byte n, which JSON text does not hold: its strings escape such bytes. Redis
// keeps what was written with this list: it may be added to, and nothing else.
constexpr std::string_view kPhrases[] = {
    R"({"enhance":false,"format":"png","guidance":1.0,"height":)",
    R"({"enhance":true,"format":"png","guidance":1.0,"height":)",
    R"({"enhance":)",
    R"(,"format":")",
    R"(,"guidance":)",
    R"(,"height":)",
    R"(,"kind":0,"model":")",
    R"(,"model":")",
    R"(,"negative_prompt":"","previews":0,"priority":1,"prompt":")",
    R"(,"negative_prompt":")",
    R"(,"previews":)",
    R"(,"priority":)",
    R"(,"prompt":")",
    R"(","quality":100,"seeds":[)",
    R"(,"quality":)",
    R"(,"seeds":[)",
    R"(],"steps":)",
    R"(,"trace":false,"width":)",
    R"(,"width":)",
    R"({"enhanced_prompt":"","images":[)",
    R"({"enhanced_prompt":")",
    R"({"content_type":"image/png","height":)",
    R"({"content_type":"image/)",
    R"(,"seed":)",
    R"(,"size_bytes":)",
    R"(}],"prompt_tokens":)",
    R"(],"seeds_given":true,"steps":)"};
static_assert(std::size(kPhrases) < 0x20);

}  // namespace

std::string shortened_json(std::string_view json) {
  std::string text;
  while (!json.empty()) {
    std::size_t phrase = 0;
    while (phrase < std::size(kPhrases) && !json.starts_with(kPhrases[phrase])) ++phrase;
    const bool is_found = phrase < std::size(kPhrases);
    text += is_found ? static_cast<char>(phrase + 1) : json.front();
    json.remove_prefix(is_found ? kPhrases[phrase].size() : 1);
  }
  return text;
}

std::string restored_json(std::string_view text) {
  std::string json;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_phrase = byte >= 1 && byte <= std::size(kPhrases);
    if (is_phrase) {
      json += kPhrases[byte - 1];
    } else {
      json += c;
    }
  }
  return json;
}

}  // namespace ernie_image
