#include "tokenizer/tokenizer.h"

#include <algorithm>

#include "ernie_image/error.h"
#include "io/file_view.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer_config.h"
#include "tokenizer/tokenizer_file.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary.h"

namespace ernie_image {
namespace {

// Of a prompt, whichever way it came in; a stored job has no more, and no model reads as much.
constexpr std::size_t kMaxTextBytes = std::size_t{1} << 20;

void require_text(std::string_view text) {
  if (text.size() > kMaxTextBytes) {
    throw Error(ErrorKind::invalid_argument, "prompt of " + std::to_string(text.size()) +
                                                 " bytes, at most " +
                                                 std::to_string(kMaxTextBytes) + "; shorten it");
  }
  if (const auto position = find_invalid_utf8(text)) {
    throw Error(ErrorKind::invalid_argument,
                "text is not UTF-8: byte " + std::to_string(*position) + " (counted from 0)");
  }
}

}  // namespace

struct Tokenizer::State {
  Vocabulary vocabulary;
  Bpe bpe;
  PreTokenizer pre_tokenizer;
  AddedTokenMatcher added;             // searched first,
  AddedTokenMatcher added_normalized;  // and these in what is left
  std::vector<bool> special;           // by id
  std::vector<std::int32_t> prefix;
  std::vector<std::int32_t> suffix;
  TokenizerConfig config;

  State(TokenizerFile file, const TokenizerConfig& tokenizer_config, const std::string& path)
      : vocabulary(std::move(file.tokens), path),
        bpe(vocabulary, file.merges, file.ignore_merges, path),
        pre_tokenizer(file.split_regex, path + ": pre_tokenizer"),
        special(vocabulary.size()),
        prefix(std::move(file.prefix)),
        suffix(std::move(file.suffix)),
        config(tokenizer_config) {
    for (const AddedToken& token : file.added_tokens) {
      (token.normalized ? added_normalized : added).add(token.content, token.id);
      special[token.id] = special[token.id] || token.special;
    }
  }

  // Ids of the text alone, without what the post-processor adds.
  std::vector<std::int32_t> encode_text(std::string_view text) const {
    require_text(text);
    std::vector<std::int32_t> ids;
    split_off(added, text, ids, [&](std::string_view outer) {
      split_off(added_normalized, outer, ids, [&](std::string_view inner) {
        for (const std::string_view piece : pre_tokenizer.split(inner)) bpe.encode(piece, ids);
      });
    });
    return ids;
  }

  // Appends the ids of added tokens and hands on the text between them.
  template <typename EncodeText>
  static void split_off(const AddedTokenMatcher& matcher, std::string_view text,
                        std::vector<std::int32_t>& ids, const EncodeText& encode_between) {
    for (const Segment& segment : matcher.split(text)) {
      if (segment.id == Segment::kText) {
        encode_between(segment.text);
      } else {
        ids.push_back(segment.id);
      }
    }
  }

  std::vector<std::int32_t> post_process(std::vector<std::int32_t> content) const {
    content.insert(content.begin(), prefix.begin(), prefix.end());
    content.insert(content.end(), suffix.begin(), suffix.end());
    return content;
  }

  std::vector<std::int32_t> truncate(std::vector<std::int32_t> content) const {
    if (!config.model_max_length) return content;
    const auto added_count = static_cast<std::int64_t>(prefix.size() + suffix.size());
    const std::int64_t room = std::max<std::int64_t>(*config.model_max_length - added_count, 0);
    if (static_cast<std::int64_t>(content.size()) > room) content.resize(room);
    return content;
  }

  static std::unique_ptr<const State> load(const std::string& path,
                                           const std::string& config_path) {
    TokenizerFile file = read_tokenizer_file(path);
    TokenizerConfig config;
    if (!config_path.empty()) config = read_tokenizer_config(config_path, file);
    return std::make_unique<const State>(std::move(file), config, path);
  }
};

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::open(const std::string& folder) {
  const std::string config = join_path(folder, "tokenizer_config.json");
  return Tokenizer(
      State::load(join_path(folder, "tokenizer.json"), file_exists(config) ? config : ""));
}

Tokenizer Tokenizer::open_file(const std::string& path) { return Tokenizer(State::load(path, "")); }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids = state_->post_process(state_->truncate(state_->encode_text(text)));
  if (ids.empty()) ids.push_back(bos_id().value_or(0));
  return ids;
}

std::vector<std::int32_t> Tokenizer::encode_untruncated(std::string_view text) const {
  return state_->post_process(state_->encode_text(text));
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocabulary_size()) continue;
    if (skip_special_tokens && state_->special[id]) continue;
    bytes += bytes_of_token(state_->vocabulary.token(id));
  }
  return replace_invalid_utf8(bytes);
}

std::int32_t Tokenizer::vocabulary_size() const { return state_->vocabulary.size(); }

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  const std::int32_t id = state_->vocabulary.find(token);
  return id == Vocabulary::kNone ? std::nullopt : std::optional(id);
}

std::optional<std::int32_t> Tokenizer::bos_id() const { return state_->config.bos_id; }

std::optional<std::int64_t> Tokenizer::model_max_length() const {
  return state_->config.model_max_length;
}

}  // namespace ernie_image
