#include "tokenizer/tokenizer_config.h"

#include <charconv>

#include "ernie_image/error.h"
#include "io/json.h"
#include "tokenizer/tokenizer_json.h"

namespace ernie_image {
namespace {

constexpr double kNoLimit = 1e9;  // the reference writes about 1e30

std::optional<std::int64_t> read_max_length(const JsonReader& config) {
  constexpr const char* kKey = "model_max_length";
  const double length = config.number(kKey, kNoLimit);
  if (length >= kNoLimit) return std::nullopt;
  if (length < 1) config.fail(kKey, "at least 1");
  return static_cast<std::int64_t>(length);
}

const AddedToken* find_added(const TokenizerFile& file, const std::string& content) {
  for (const AddedToken& token : file.added_tokens) {
    if (token.content == content) return &token;
  }
  return nullptr;
}

// {"5": {"content": "[INST]", ...}}; what tokenizer.json lists too must agree with it.
void read_added_tokens_decoder(const JsonReader& config, TokenizerFile& file) {
  const auto entries = config.object("added_tokens_decoder");
  if (!entries) return;
  for (const auto& [key, value] : entries->value().items()) {
    std::int64_t id = -1;
    const char* end = key.data() + key.size();
    if (std::from_chars(key.data(), end, id).ptr != end) {
      throw Error(ErrorKind::corrupt_file, entries->where() + ": " + printable(key) + " is no id");
    }
    add_token(file, read_added_token(entries->required_object(key), id), entries->where());
  }
}

// "<s>" or {"content": "<s>", ...}; empty when absent.
std::string named_token(const JsonReader& config, const char* key) {
  const nlohmann::json* value = config.find(key);
  if (value != nullptr && value->is_object()) return config.object(key)->text("content", "");
  return config.text(key, "");
}

// The id of a token that the configuration names; the reference cuts it out of texts as well.
std::optional<std::int32_t> read_named_token(const JsonReader& config, const char* key,
                                             TokenizerFile& file) {
  const std::string content = named_token(config, key);
  if (content.empty()) return std::nullopt;
  if (const AddedToken* added = find_added(file, content); added != nullptr) return added->id;
  throw Error(ErrorKind::unsupported, config.where() + ": '" + key + "' is " + printable(content) +
                                          ", which is none of tokenizer.json's added tokens");
}

void refuse_changed_behaviour(const JsonReader& config) {
  if (config.boolean("split_special_tokens", false)) {
    throw Error(ErrorKind::unsupported, config.where() + ": split_special_tokens is not supported");
  }
  const std::string side = config.text("truncation_side", "");
  if (!side.empty() && side != "right") {
    throw Error(ErrorKind::unsupported, config.where() + ": truncation_side " + printable(side) +
                                            " is not supported (expected right)");
  }
}

// When one of the two is set, they replace the file's post-processor.
void read_bos_and_eos(const JsonReader& config, std::optional<std::int32_t> bos,
                      std::optional<std::int32_t> eos, TokenizerFile& file) {
  if (!config.has("add_bos_token") && !config.has("add_eos_token")) return;
  file.prefix.clear();
  file.suffix.clear();
  if (bos && config.boolean("add_bos_token", false)) file.prefix = {*bos};
  if (eos && config.boolean("add_eos_token", false)) file.suffix = {*eos};
}

}  // namespace

TokenizerConfig read_tokenizer_config(const std::string& path, TokenizerFile& file) {
  const JsonReader config(read_tokenizer_json(path).document, path);
  refuse_changed_behaviour(config);
  read_added_tokens_decoder(config, file);
  TokenizerConfig result;
  result.model_max_length = read_max_length(config);
  result.bos_id = read_named_token(config, "bos_token", file);
  const auto eos_id = read_named_token(config, "eos_token", file);
  for (const char* key : {"unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}) {
    read_named_token(config, key, file);
  }
  read_bos_and_eos(config, result.bos_id, eos_id, file);
  return result;
}

}  // namespace ernie_image
