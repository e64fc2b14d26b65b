#include "tokenizer/tokenizer_config.h"

#include <charconv>

#include "ernie_image/error.h"
#include "io/json.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/tokenizer_json.h"

namespace ernie_image {
namespace {

using json_fields::corrupt;
using json_fields::find;
using nlohmann::json;

constexpr double kNoLimit = 1e9;  // the reference writes about 1e30

std::optional<std::int64_t> read_max_length(const json& config, const std::string& path) {
  const json* value = find(config, "model_max_length");
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) corrupt(path, "'model_max_length': expected a number");
  const auto length = value->get<double>();
  if (length >= kNoLimit) return std::nullopt;
  if (!(length >= 1))
    corrupt(path, "'model_max_length': " + printable_json(*value) + ", expected at least 1");
  return static_cast<std::int64_t>(length);
}

const AddedToken* find_added(const TokenizerFile& file, const std::string& content) {
  for (const AddedToken& token : file.added_tokens) {
    if (token.content == content) return &token;
  }
  return nullptr;
}

// {"5": {"content": "[INST]", ...}}; what tokenizer.json lists too must agree with it.
void read_added_tokens_decoder(const json& config, TokenizerFile& file, const std::string& path) {
  const json* entries = find(config, "added_tokens_decoder");
  if (entries == nullptr) return;
  const std::string where = path + ": added_tokens_decoder";
  if (!entries->is_object()) corrupt(where, "expected an object");
  for (const auto& [key, entry] : entries->items()) {
    std::int64_t id = -1;
    const char* end = key.data() + key.size();
    if (std::from_chars(key.data(), end, id).ptr != end)
      corrupt(where, printable(key) + " is no id");
    add_token(file, read_added_token(entry, id, where), where);
  }
}

// "<s>" or {"content": "<s>", ...}; empty when absent.
std::string named_token(const json& config, const char* key, const std::string& path) {
  const json* value = find(config, key);
  if (value != nullptr && value->is_object()) return json_fields::text(*value, "content", path);
  return json_fields::text(config, key, path);
}

// The id of a token that the configuration names; the reference cuts it out of texts as well.
std::optional<std::int32_t> read_named_token(const json& config, const char* key,
                                             TokenizerFile& file, const std::string& path) {
  const std::string content = named_token(config, key, path);
  if (content.empty()) return std::nullopt;
  if (const AddedToken* added = find_added(file, content); added != nullptr) return added->id;
  throw Error(ErrorKind::unsupported, path + ": '" + key + "' is " + printable(content) +
                                          ", which is none of tokenizer.json's added tokens");
}

void refuse_changed_behaviour(const json& config, const std::string& path) {
  if (json_fields::boolean(config, "split_special_tokens", false, path)) {
    throw Error(ErrorKind::unsupported, path + ": split_special_tokens is not supported");
  }
  const std::string side = json_fields::text(config, "truncation_side", path);
  if (!side.empty() && side != "right") {
    throw Error(ErrorKind::unsupported, path + ": truncation_side " + printable(side) +
                                            " is not supported (expected right)");
  }
}

// When one of the two is set, they replace the file's post-processor.
void read_bos_and_eos(const json& config, std::optional<std::int32_t> bos,
                      std::optional<std::int32_t> eos, TokenizerFile& file,
                      const std::string& path) {
  if (find(config, "add_bos_token") == nullptr && find(config, "add_eos_token") == nullptr) return;
  file.prefix.clear();
  file.suffix.clear();
  if (bos && json_fields::boolean(config, "add_bos_token", false, path)) file.prefix = {*bos};
  if (eos && json_fields::boolean(config, "add_eos_token", false, path)) file.suffix = {*eos};
}

}  // namespace

TokenizerConfig read_tokenizer_config(const std::string& path, TokenizerFile& file) {
  const json config = read_tokenizer_json(path).document;
  refuse_changed_behaviour(config, path);
  read_added_tokens_decoder(config, file, path);
  TokenizerConfig result;
  result.model_max_length = read_max_length(config, path);
  result.bos_id = read_named_token(config, "bos_token", file, path);
  const auto eos_id = read_named_token(config, "eos_token", file, path);
  for (const char* key : {"unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}) {
    read_named_token(config, key, file, path);
  }
  read_bos_and_eos(config, result.bos_id, eos_id, file, path);
  return result;
}

}  // namespace ernie_image
