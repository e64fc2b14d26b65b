#include "tokenizer/tokenizer_file.h"

#include <algorithm>

#include "ernie_image/error.h"
#include "io/json.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/tokenizer_json.h"

namespace ernie_image {
namespace {

using json_fields::corrupt;
using json_fields::find;
using nlohmann::json;

constexpr std::int64_t kMaxId = (1 << 20) - 1;  // bounds the table of tokens
constexpr std::size_t kMaxTemplateParts = 64;

[[noreturn]] void unsupported(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::unsupported, where + ": " + what + " is not supported");
}

std::string type_of(const json& component, const std::string& where) {
  std::string type = json_fields::text(component, "type", where);
  if (type.empty()) corrupt(where, "expected an object with a 'type'");
  return type;
}

// The members of a "Sequence" under `list_key`, or the component itself.
std::vector<const json*> members(const json& component, const char* list_key,
                                 const std::string& where) {
  if (type_of(component, where) != "Sequence") return {&component};
  std::vector<const json*> result;
  for (const json& member : json_fields::array(component, list_key, where)) {
    result.push_back(&member);
  }
  return result;
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
void require_off(const json& model, const char* key, const std::string& where) {
  const json* value = find(model, key);
  const bool off = value == nullptr || *value == false || *value == 0.0 || *value == "";
  if (!off) unsupported(where, "model." + std::string(key) + " = " + printable_json(*value));
}

void read_model(const json& document, TokenizerFile& file, const std::string& path) {
  const json* model = find(document, "model");
  if (model == nullptr || !model->is_object()) corrupt(path, "expected an object 'model'");
  const std::string type = type_of(*model, path + ": model");
  if (type != "BPE") unsupported(path, "model type " + printable(type) + " (expected BPE)");
  // unk_token and fuse_unk cannot matter: each of the 256 bytes must have a token.
  for (const char* key :
       {"dropout", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix"}) {
    require_off(*model, key, path);
  }
  file.ignore_merges = json_fields::boolean(*model, "ignore_merges", false, path + ": model");
}

void require_plain_byte_level(const json& component, const std::string& where) {
  if (json_fields::boolean(component, "add_prefix_space", true, where)) {
    unsupported(where, "ByteLevel with add_prefix_space");
  }
  if (json_fields::boolean(component, "use_regex", true, where)) {
    unsupported(where, "ByteLevel with use_regex");
  }
}

std::string read_split(const json& component, const std::string& where) {
  const std::string behavior = json_fields::text(component, "behavior", where);
  if (behavior != "Isolated") unsupported(where, "Split with behavior " + printable(behavior));
  if (json_fields::boolean(component, "invert", false, where)) {
    unsupported(where, "Split with invert");
  }
  const json* pattern = find(component, "pattern");
  if (pattern == nullptr || find(*pattern, "Regex") == nullptr) {
    unsupported(where, "Split without a pattern of kind 'Regex'");
  }
  return json_fields::text(*pattern, "Regex", where);
}

void read_pre_tokenizer(const json& document, TokenizerFile& file, const std::string& path) {
  const std::string where = path + ": pre_tokenizer";
  const json* component = find(document, "pre_tokenizer");
  std::vector<const json*> parts;
  if (component != nullptr) parts = members(*component, "pretokenizers", where);
  if (parts.size() != 2 || type_of(*parts[0], where) != "Split" ||
      type_of(*parts[1], where) != "ByteLevel") {
    unsupported(where, "anything but a Sequence of Split and ByteLevel");
  }
  file.split_regex = read_split(*parts[0], where);
  require_plain_byte_level(*parts[1], where);
}

void refuse_normalizer(const json& document, const std::string& path) {
  const json* normalizer = find(document, "normalizer");
  if (normalizer == nullptr) return;
  const std::string where = path + ": normalizer";
  const std::string type = type_of(*normalizer, where);
  if (type != "Sequence" || !members(*normalizer, "normalizers", where).empty()) {
    unsupported(where, "type " + printable(type));
  }
}

void require_byte_level_decoder(const json& document, const std::string& path) {
  const json* decoder = find(document, "decoder");
  const std::string where = path + ": decoder";
  const std::string type = decoder == nullptr ? "null" : type_of(*decoder, where);
  if (type != "ByteLevel") unsupported(where, "type " + printable(type) + " (expected ByteLevel)");
}

const json& short_array(const json& object, const char* key, const std::string& where) {
  const json& array = json_fields::array(object, key, where);
  if (array.size() > kMaxTemplateParts) {
    corrupt(where, std::string(key) + " has " + std::to_string(array.size()) +
                       " entries, at most " + std::to_string(kMaxTemplateParts));
  }
  return array;
}

// The ids that a template's special token stands for.
std::vector<std::int32_t> template_ids(const json& post_processor, const json& special_token,
                                       const TokenizerFile& file, const std::string& where) {
  const std::string name = json_fields::text(special_token, "id", where);
  const json* tokens = find(post_processor, "special_tokens");
  const json* entry = tokens == nullptr ? nullptr : find(*tokens, name.c_str());
  if (entry == nullptr) corrupt(where, printable(name) + " is not in special_tokens");
  std::vector<std::int32_t> ids;
  for (const json& id : short_array(*entry, "ids", where)) {
    const bool known = id.is_number_unsigned() && id.get<std::uint64_t>() < file.tokens.size() &&
                       !file.tokens[id.get<std::size_t>()].empty();
    if (!known) corrupt(where, printable(name) + ": no token has the id " + printable_json(id));
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

void read_template(const json& post_processor, TokenizerFile& file, const std::string& where) {
  std::vector<std::int32_t> prefix;
  std::vector<std::int32_t> suffix;
  int texts = 0;
  for (const json& part : short_array(post_processor, "single", where)) {
    if (const json* token = find(part, "SpecialToken"); token != nullptr) {
      std::vector<std::int32_t>& side = texts == 0 ? prefix : suffix;
      const std::vector<std::int32_t> ids = template_ids(post_processor, *token, file, where);
      side.insert(side.end(), ids.begin(), ids.end());
    } else if (const json* text = find(part, "Sequence");
               text != nullptr && json_fields::text(*text, "id", where) == "A") {
      ++texts;
    } else {
      corrupt(where, "unknown part " + printable_json(part) + " in 'single'");
    }
  }
  if (texts != 1) corrupt(where, "'single' must hold the sequence A once");
  // A template of a Sequence wraps what the ones before it made.
  file.prefix.insert(file.prefix.begin(), prefix.begin(), prefix.end());
  file.suffix.insert(file.suffix.end(), suffix.begin(), suffix.end());
}

void read_post_processor(const json& document, TokenizerFile& file, const std::string& path) {
  const json* component = find(document, "post_processor");
  if (component == nullptr) return;
  const std::string where = path + ": post_processor";
  for (const json* part : members(*component, "processors", where)) {
    const std::string type = type_of(*part, where);
    if (type == "TemplateProcessing") {
      read_template(*part, file, where);
    } else if (type != "ByteLevel") {  // ByteLevel changes offsets only
      unsupported(where, "type " + printable(type));
    }
  }
}

void read_added_tokens(const json& document, TokenizerFile& file, const std::string& path) {
  for (const json& entry : json_fields::array(document, "added_tokens", path)) {
    const json* id = find(entry, "id");
    const std::string where = path + ": added_tokens";
    if (id == nullptr || !id->is_number_integer()) corrupt(where, "expected an integer 'id'");
    add_token(file, read_added_token(entry, id->get<std::int64_t>(), where), where);
  }
}

}  // namespace

AddedToken read_added_token(const json& entry, std::int64_t id, const std::string& where) {
  AddedToken token{};
  token.content = json_fields::text(entry, "content", where);
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
    if (json_fields::boolean(entry, flag, false, where)) {
      unsupported(where, printable(token.content) + " with " + flag);
    }
  }
  token.special = json_fields::boolean(entry, "special", false, where);
  token.normalized = json_fields::boolean(entry, "normalized", !token.special, where);
  return token;
}

void add_token(TokenizerFile& file, const AddedToken& token, const std::string& where) {
  claim_id(file, token.content, token.id, where);
  file.added_tokens.push_back(token);
}

TokenizerFile read_tokenizer_file(const std::string& path) {
  TokenizerJson json = read_tokenizer_json(path);
  TokenizerFile file;
  read_model(json.document, file, path);
  file.merges = std::move(json.merges);
  file.tokens.reserve(std::min<std::size_t>(json.vocab.size() + 1, kMaxId));
  for (const auto& [token, id] : json.vocab) claim_id(file, token, id, path + ": model.vocab");
  read_added_tokens(json.document, file, path);
  refuse_normalizer(json.document, path);
  read_pre_tokenizer(json.document, file, path);
  read_post_processor(json.document, file, path);
  require_byte_level_decoder(json.document, path);
  return file;
}

}  // namespace ernie_image
