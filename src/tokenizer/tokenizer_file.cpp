#include "tokenizer/tokenizer_file.h"

#include <algorithm>

#include "ernie_image/error.h"
#include "io/json.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/tokenizer_json.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kMaxId = (1 << 20) - 1;  // bounds the table of tokens
constexpr std::size_t kMaxTemplateParts = 64;

[[noreturn]] void unsupported(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::unsupported, where + ": " + what + " is not supported");
}

[[noreturn]] void corrupt(const std::string& where, const std::string& problem) {
  throw Error(ErrorKind::corrupt_file, where + ": " + problem);
}

// The members of a "Sequence" under `list_key`, or the component itself.
std::vector<JsonReader> members(const JsonReader& component, const char* list_key) {
  if (component.text("type") != "Sequence") return {component};
  return component.objects(list_key);
}

void claim_id(TokenizerFile& file, const std::string& token, std::int64_t id,
              const std::string& where) {
  if (token.empty()) corrupt(where, "empty token with id " + std::to_string(id));
  if (id < 0 || id > kMaxId) {
    corrupt(where, "token " + printable(token) + ": id " + std::to_string(id) + ", expected 0 to " +
                       std::to_string(kMaxId));
  }
  if (file.tokens.size() <= static_cast<std::size_t>(id)) file.tokens.resize(id + 1);
  std::string& slot = file.tokens[id];
  if (!slot.empty() && slot != token) {
    corrupt(where, "id " + std::to_string(id) + " is both " + printable(slot) + " and " +
                       printable(token));
  }
  slot = token;
}

// A switch of the model that would change ids when on.
void require_off(const JsonReader& model, const char* key) {
  const nlohmann::json* value = model.find(key);
  const bool off = value == nullptr || *value == false || *value == 0.0 || *value == "";
  if (!off) unsupported(model.where(), std::string(key) + " = " + printable_json(*value));
}

void read_model(const JsonReader& document, TokenizerFile& file) {
  const JsonReader model = document.required_object("model");
  const std::string type = model.text("type");
  if (type != "BPE") {
    unsupported(model.where(), "type " + printable(type) + " (expected BPE)");
  }
  // unk_token and fuse_unk cannot matter: each of the 256 bytes must have a token.
  for (const char* key :
       {"dropout", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix"}) {
    require_off(model, key);
  }
  file.ignore_merges = model.boolean("ignore_merges", false);
}

void require_plain_byte_level(const JsonReader& component) {
  for (const char* key : {"add_prefix_space", "use_regex"}) {
    if (component.boolean(key, true)) {
      unsupported(component.where(), std::string("ByteLevel with ") + key);
    }
  }
}

std::string read_split(const JsonReader& component) {
  const std::string behavior = component.text("behavior", "");
  if (behavior != "Isolated") {
    unsupported(component.where(), "Split with behavior " + printable(behavior));
  }
  if (component.boolean("invert", false)) unsupported(component.where(), "Split with invert");
  const auto pattern = component.object("pattern");
  if (!pattern || !pattern->has("Regex")) {
    unsupported(component.where(), "Split without a pattern of kind 'Regex'");
  }
  return pattern->text("Regex");
}

void read_pre_tokenizer(const JsonReader& document, TokenizerFile& file) {
  std::vector<JsonReader> parts;
  if (const auto component = document.object("pre_tokenizer")) {
    parts = members(*component, "pretokenizers");
  }
  if (parts.size() != 2 || parts[0].text("type") != "Split" ||
      parts[1].text("type") != "ByteLevel") {
    unsupported(document.where() + ": pre_tokenizer",
                "anything but a Sequence of Split and ByteLevel");
  }
  file.split_regex = read_split(parts[0]);
  require_plain_byte_level(parts[1]);
}

void refuse_normalizer(const JsonReader& document) {
  const auto normalizer = document.object("normalizer");
  if (!normalizer) return;
  const std::string type = normalizer->text("type");
  if (type != "Sequence" || !members(*normalizer, "normalizers").empty()) {
    unsupported(normalizer->where(), "type " + printable(type));
  }
}

void require_byte_level_decoder(const JsonReader& document) {
  const auto decoder = document.object("decoder");
  const std::string type = decoder ? decoder->text("type") : "null";
  if (type != "ByteLevel") {
    unsupported(document.where() + ": decoder",
                "type " + printable(type) + " (expected ByteLevel)");
  }
}

// The ids that a template's special token stands for.
std::vector<std::int32_t> template_ids(const JsonReader& post_processor,
                                       const JsonReader& special_token, const TokenizerFile& file) {
  const std::string& where = post_processor.where();
  const std::string name = special_token.text("id");
  const auto tokens = post_processor.object("special_tokens");
  const auto entry = tokens ? tokens->object(name) : std::nullopt;
  if (!entry) corrupt(where, printable(name) + " is not in special_tokens");
  std::vector<std::int32_t> ids;
  for (const std::int64_t id : entry->integers("ids", {}, 0, kMaxId)) {
    const auto index = static_cast<std::size_t>(id);
    if (index >= file.tokens.size() || file.tokens[index].empty()) {
      corrupt(where, printable(name) + ": no token has the id " + std::to_string(id));
    }
    ids.push_back(static_cast<std::int32_t>(id));
  }
  if (ids.size() > kMaxTemplateParts) {
    entry->fail("ids", "at most " + std::to_string(kMaxTemplateParts) + " ids");
  }
  return ids;
}

void read_template(const JsonReader& post_processor, TokenizerFile& file) {
  const std::string& where = post_processor.where();
  std::vector<std::int32_t> prefix;
  std::vector<std::int32_t> suffix;
  int texts = 0;
  for (const JsonReader& part : post_processor.objects("single", kMaxTemplateParts)) {
    if (const auto token = part.object("SpecialToken")) {
      std::vector<std::int32_t>& side = texts == 0 ? prefix : suffix;
      const std::vector<std::int32_t> ids = template_ids(post_processor, *token, file);
      side.insert(side.end(), ids.begin(), ids.end());
    } else if (const auto text = part.object("Sequence"); text && text->text("id") == "A") {
      ++texts;
    } else {
      corrupt(where, "unknown part " + printable_json(part.value()) + " in 'single'");
    }
  }
  if (texts != 1) corrupt(where, "'single' must hold the sequence A once");
  // A template of a Sequence wraps what the ones before it made.
  file.prefix.insert(file.prefix.begin(), prefix.begin(), prefix.end());
  file.suffix.insert(file.suffix.end(), suffix.begin(), suffix.end());
}

void read_post_processor(const JsonReader& document, TokenizerFile& file) {
  const auto component = document.object("post_processor");
  if (!component) return;
  for (const JsonReader& part : members(*component, "processors")) {
    const std::string type = part.text("type");
    if (type == "TemplateProcessing") {
      read_template(part, file);
    } else if (type != "ByteLevel") {  // ByteLevel changes offsets only
      unsupported(part.where(), "type " + printable(type));
    }
  }
}

void read_added_tokens(const JsonReader& document, TokenizerFile& file) {
  for (const JsonReader& entry : document.objects("added_tokens")) {
    const nlohmann::json* id = entry.find("id");
    if (id == nullptr || !id->is_number_integer()) entry.fail("id", "a whole number");
    add_token(file, read_added_token(entry, whole_number(*id).value_or(-1)), entry.where());
  }
}

}  // namespace

AddedToken read_added_token(const JsonReader& entry, std::int64_t id) {
  const std::string& where = entry.where();
  AddedToken token{};
  token.content = entry.text("content", "");
  if (token.content.empty() || token.content.size() > AddedTokenMatcher::kMaxTokenBytes) {
    corrupt(where, "id " + std::to_string(id) + ": 'content' must have 1 to " +
                       std::to_string(AddedTokenMatcher::kMaxTokenBytes) + " bytes");
  }
  if (id < 0 || id > kMaxId) {
    corrupt(where, printable(token.content) + ": id " + std::to_string(id) + ", expected 0 to " +
                       std::to_string(kMaxId));
  }
  token.id = static_cast<std::int32_t>(id);
  for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
    if (entry.boolean(flag, false)) unsupported(where, printable(token.content) + " with " + flag);
  }
  token.special = entry.boolean("special", false);
  token.normalized = entry.boolean("normalized", !token.special);
  return token;
}

void add_token(TokenizerFile& file, const AddedToken& token, const std::string& where) {
  claim_id(file, token.content, token.id, where);
  file.added_tokens.push_back(token);
}

TokenizerFile read_tokenizer_file(const std::string& path) {
  TokenizerJson json = read_tokenizer_json(path);
  const JsonReader document(std::move(json.document), path);
  TokenizerFile file;
  read_model(document, file);
  file.merges = std::move(json.merges);
  file.tokens.reserve(std::min<std::size_t>(json.vocab.size() + 1, kMaxId));
  for (const auto& [token, id] : json.vocab) claim_id(file, token, id, path + ": model.vocab");
  read_added_tokens(document, file);
  refuse_normalizer(document);
  read_pre_tokenizer(document, file);
  read_post_processor(document, file);
  require_byte_level_decoder(document);
  return file;
}

}  // namespace ernie_image
