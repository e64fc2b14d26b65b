#include "tokenizer/tokenizer_json.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "ernie_image/error.h"
#include "io/file_view.h"
#include "io/json.h"
#include "io/placeholder.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxValues = 1'000'000;  // of the document, each a few dozen bytes
constexpr std::size_t kMaxTokens = std::size_t{1} << 20;
constexpr std::size_t kMaxMerges = std::size_t{1} << 22;

// Receives the parser's events (nlohmann's SAX interface). A handler returns false to stop.
class Handler {
 public:
  explicit Handler(TokenizerJson& target) : target_(target) {}

  const std::string& problem() const { return problem_; }

  bool null() { return value(nullptr); }
  bool boolean(bool flag) { return value(flag); }
  bool number_float(double number, const std::string&) { return value(number); }
  bool binary(json::binary_t&) { return fail("binary data"); }
  bool number_integer(std::int64_t number) {
    return part_ == Part::vocab ? add_token(number) : value(number);
  }
  bool number_unsigned(std::uint64_t number) {
    if (part_ != Part::vocab) return value(number);
    constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
    return add_token(static_cast<std::int64_t>(std::min(number, kMax)));
  }
  bool string(std::string& text) {
    return part_ == Part::merges ? add_to_merge(text) : value(std::move(text));
  }

  bool key(std::string& name) {
    key_ = std::move(name);
    return true;
  }

  bool start_object(std::size_t) {
    if (at_model_member("vocab")) return enter(Part::vocab);
    return open(json::object());
  }
  bool end_object() {
    if (part_ == Part::vocab) return leave();
    open_.pop_back();
    return true;
  }

  bool start_array(std::size_t) {
    if (part_ == Part::merges && !in_merge_) {
      in_merge_ = true;
      merge_.clear();
      return true;
    }
    if (at_model_member("merges")) return enter(Part::merges);
    return open(json::array());
  }
  bool end_array() {
    if (part_ == Part::merges) return in_merge_ ? end_merge() : leave();
    open_.pop_back();
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const json::exception& error) {
    return fail(error.what());
  }

 private:
  enum class Part { document, vocab, merges };

  bool fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  // Whether the value that begins is the member `name` of the top level's "model".
  bool at_model_member(std::string_view name) const {
    return part_ == Part::document && open_.size() == 2 && open_[1] == model_ && key_ == name;
  }

  bool enter(Part part) {
    bool& seen = part == Part::vocab ? vocab_seen_ : merges_seen_;
    if (std::exchange(seen, true)) return fail("model." + key_ + " appears twice");
    part_ = part;
    return true;
  }

  bool leave() {
    part_ = Part::document;
    return true;
  }

  bool add_token(std::int64_t id) {
    if (target_.vocab.size() == kMaxTokens) {
      return fail("model.vocab has more than " + std::to_string(kMaxTokens) + " entries");
    }
    target_.vocab.emplace_back(std::move(key_), id);
    return true;
  }

  bool add_to_merge(std::string& text) {
    if (!in_merge_) {  // "a b"
      const std::size_t space = text.find(' ');
      if (space == std::string::npos) return bad_merge();
      merge_ = {text.substr(0, space), text.substr(space + 1)};
      return end_merge();
    }
    if (merge_.size() == 2) return bad_merge();
    merge_.push_back(std::move(text));
    return true;
  }

  // The byte alphabet has no space, so that one can separate the tokens of "a b".
  static bool is_mergeable(const std::string& token) {
    return !token.empty() && token.find(' ') == std::string::npos;
  }

  bool end_merge() {
    in_merge_ = false;
    if (merge_.size() != 2 || !is_mergeable(merge_[0]) || !is_mergeable(merge_[1])) {
      return bad_merge();
    }
    if (target_.merges.size() == kMaxMerges) {
      return fail("model.merges has more than " + std::to_string(kMaxMerges) + " entries");
    }
    target_.merges.emplace_back(std::move(merge_[0]), std::move(merge_[1]));
    return true;
  }

  bool bad_merge() {
    return fail("model.merges[" + std::to_string(target_.merges.size()) +
                "]: expected two tokens, as [\"a\", \"b\"] or \"a b\"");
  }

  bool value(json item) {
    if (part_ == Part::vocab)
      return fail("model.vocab: the id of " + printable(key_) + " is no integer");
    if (part_ == Part::merges) return bad_merge();
    return place(std::move(item)) != nullptr;
  }

  bool open(json container) {
    if (part_ == Part::vocab)
      return fail("model.vocab: the id of " + printable(key_) + " is no integer");
    if (part_ == Part::merges) return bad_merge();
    if (open_.size() == kMaxDepth) return fail("nested deeper than " + std::to_string(kMaxDepth));
    json* placed = place(std::move(container));
    if (placed == nullptr) return false;
    if (open_.size() == 1 && key_ == "model") model_ = placed;
    open_.push_back(placed);
    return true;
  }

  // Puts a value where the parser stands; null after a failure.
  json* place(json item) {
    if ((at_model_member("vocab") || at_model_member("merges")) && !item.is_null()) {
      fail("model." + key_ + ": expected " + (key_ == "vocab" ? "an object" : "an array"));
      return nullptr;
    }
    if (++values_ > kMaxValues) {
      fail("more than " + std::to_string(kMaxValues) + " values");
      return nullptr;
    }
    if (open_.empty()) return &(target_.document = std::move(item));
    json& parent = *open_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(item));
    if (parent.contains(key_)) {
      fail(printable(key_) + " appears twice");
      return nullptr;
    }
    return &(parent[key_] = std::move(item));
  }

  TokenizerJson& target_;
  std::vector<json*> open_;  // the containers that enclose the parser's position
  const json* model_ = nullptr;
  std::string key_;
  Part part_ = Part::document;
  bool vocab_seen_ = false;
  bool merges_seen_ = false;
  bool in_merge_ = false;
  std::vector<std::string> merge_;
  std::size_t values_ = 0;
  std::string problem_;
};

}  // namespace

TokenizerJson read_tokenizer_json(const std::string& path) {
  const FileView file = open_file(path);
  reject_placeholder(file);
  const auto fail = [&](const std::string& problem) {
    throw Error(ErrorKind::corrupt_file, path + ": " + problem);
  };
  if (file.bytes.size() > kMaxBytes) {
    fail(std::to_string(file.bytes.size()) + " bytes, expected at most " +
         std::to_string(kMaxBytes));
  }
  TokenizerJson result;
  Handler handler(result);
  const std::string_view text = file.text();
  if (!json::sax_parse(text.begin(), text.end(), &handler)) {
    fail("not valid: " + handler.problem());
  }
  if (!result.document.is_object()) fail("expected a JSON object");
  return result;
}

}  // namespace ernie_image
