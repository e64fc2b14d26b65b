#include "small_tokenizer.h"

#include "tokenizer/byte_alphabet.h"

namespace ernie_image::test {

using nlohmann::json;

json added_token(int id, const std::string& content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

json bos_template() {
  return {{"type", "TemplateProcessing"},
          {"single",
           {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
            {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
          {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {0}}, {"tokens", {"<s>"}}}}}}};
}

json small_tokenizer() {
  json vocab = {{"<s>", 0}, {"</s>", 1}, {"ab", kAb}, {"abc", kAbc}, {"bc", kBc}, {"Ġa", kSpaceA}};
  for (int byte = 0; byte < 256; ++byte) {
    vocab[std::string(character_of_byte(static_cast<std::uint8_t>(byte)))] =
        byte_id(static_cast<char>(byte));
  }
  const json split = {{"type", "Split"},
                      {"pattern", {{"Regex", R"(\s+(?!\S)| ?[^\s]+|\s+)"}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  json result;
  result["added_tokens"] = {added_token(0, "<s>", true), added_token(1, "</s>", true)};
  result["normalizer"] = nullptr;
  result["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}};
  result["post_processor"] = nullptr;
  result["decoder"] = {{"type", "ByteLevel"}};
  result["model"] = {{"type", "BPE"},
                     {"dropout", nullptr},
                     {"unk_token", nullptr},
                     {"byte_fallback", false},
                     {"ignore_merges", false},
                     {"vocab", vocab},
                     {"merges", json::array({{"a", "b"}, {"b", "c"}, {"ab", "c"}, {"Ġ", "a"}})}};
  return result;
}

}  // namespace ernie_image::test
