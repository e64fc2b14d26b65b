// Byte-level BPE from a Hugging Face tokenizer.json.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

/// Immutable after loading; safe for concurrent use.
class Tokenizer {
 public:
  /// Reads `<folder>/tokenizer.json` and, if present, `<folder>/tokenizer_config.json` (for
  /// model_max_length, bos_token). Throws Error(not_found | corrupt_file | unsupported): another
  /// model type than BPE, another pre-tokenizer than Split(regex, Isolated) + ByteLevel, a
  /// normalizer, an invalid regex.
  static Tokenizer open(const std::string& folder);
  /// The same from one tokenizer.json alone.
  static Tokenizer open_file(const std::string& path);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// What the text encoder is fed: special tokens of the text cut out, BPE, post-processor's bos if
  /// it adds one, truncated to model_max_length; never empty ([bos] or [0] for an empty text).
  /// Throws Error(invalid_argument) for text that is not UTF-8, saying at which byte.
  std::vector<std::int32_t> encode(std::string_view text) const;

  /// The same without truncation and without the rule for empty results (what the prompt enhancer
  /// is fed).
  std::vector<std::int32_t> encode_untruncated(std::string_view text) const;

  /// Text of the ids; bytes that are no UTF-8 become U+FFFD. Ids without a token are skipped.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const;

  std::int32_t vocabulary_size() const;
  std::optional<std::int32_t> id_of(std::string_view token) const;
  std::optional<std::int32_t> bos_id() const;
  /// Absent: no limit (values from 1e9 up in the file mean that).
  std::optional<std::int64_t> model_max_length() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

}  // namespace ernie_image
